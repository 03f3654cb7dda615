/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Nothing but the beginning and the ends of lines is judged before the whole
 * head is there; so the answer does not depend on how it was cut.
 */
#include <string.h>

#include "codec/http1_fields.h"
#include "codec/http1_response.h"

static const char version[] = "HTTP/1.";

/* A line that ends in LF alone, from @at on. */
static bool has_bare_lf(struct span in, size_t at)
{
	const uint8_t *lf;

	for (; at < in.len && (lf = memchr(in.data + at, '\n', in.len - at));
	     at = (size_t)(lf - in.data) + 1)
		if (lf == in.data || lf[-1] != '\r')
			return true;
	return false;
}

/* Where the empty line ends, or 0. */
static size_t head_end(size_t *scanned, struct span in)
{
	const uint8_t *end;
	size_t from = *scanned > 3 ? *scanned - 3 : 0;

	end = in.len > from ? memmem(in.data + from, in.len - from, "\r\n\r\n", 4) : NULL;
	*scanned = in.len;
	return end ? (size_t)(end - in.data) + 4 : 0;
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK", where the reason and, as some servers have it, its space may be missing. */
static bool status_line_read(struct span line, struct http1_response *ret)
{
	const size_t at = sizeof(version) - 1;

	if (line.len < at + 5 || memcmp(line.data, version, at) || line.data[at + 1] != ' ')
		return false;
	if (!is_digit(line.data[at]))
		return false;
	ret->minor = line.data[at] != '0';
	ret->status = 0;
	for (size_t i = at + 2; i < at + 5; i++) {
		if (!is_digit(line.data[i]))
			return false;
		ret->status = ret->status * 10 + (line.data[i] - '0');
	}
	line = span_skip(line, at + 5);
	if (line.len && line.data[0] != ' ')
		return false;
	ret->reason = span_skip(line, 1);
	for (size_t i = 0; i < ret->reason.len; i++)
		if ((ret->reason.data[i] < ' ' && ret->reason.data[i] != '\t') ||
		    ret->reason.data[i] == 0x7f)
			return false;
	return ret->status >= 100; /* those above 599, too: clients know what to do with them */
}

enum codec_result http1_response_parse(size_t *scanned, struct span in, size_t head_max_bytes,
				       struct http1_response *ret)
{
	size_t before = *scanned;
	struct span head, line;
	const uint8_t *lf;
	int n;

	in = span_head(in, head_max_bytes);
	if (in.len &&
	    memcmp(in.data, version, in.len < sizeof(version) - 1 ? in.len : sizeof(version) - 1))
		return CODEC_OTHER;
	ret->head_bytes = head_end(scanned, in);
	if (!ret->head_bytes)
		return in.len >= head_max_bytes || has_bare_lf(in, before) ? CODEC_BAD : CODEC_MORE;
	head = span_head(in, ret->head_bytes - 2);
	lf = memchr(head.data, '\n', head.len);
	line = span_head(head, (size_t)(lf - head.data));
	if (!line.len || line.data[line.len - 1] != '\r')
		return CODEC_BAD;
	line.len--;
	if (!status_line_read(line, ret))
		return CODEC_BAD;
	n = http1_fields_parse(span_skip(head, line.len + 2), true, ret->fields, HTTP1_MAX_FIELDS);
	if (n < 0)
		return CODEC_BAD;
	ret->n_fields = (size_t)n;
	return CODEC_DONE;
}
