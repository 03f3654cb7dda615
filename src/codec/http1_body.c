/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The decoder moves what is content to the front of its own input: whoever
 * writes it again then has one piece, and one chunk, for each read.  Strict: CRLF and nothing
 * else, sizes of at most fifteen hexadecimal digits, extensions (which are dropped) and trailers
 * of bounded length.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "codec/http1_body.h"

#define DIGITS_MAX 15
#define CHUNK_LINE_MAX_BYTES 1024

enum step {
	STEP_SIZE,
	STEP_SPACE,
	STEP_EXTENSION,
	STEP_SIZE_LF,
	STEP_DATA,
	STEP_DATA_CR,
	STEP_DATA_LF,
	STEP_TRAILER_START,
	STEP_TRAILER,
	STEP_TRAILER_LF,
	STEP_END_LF,
};

static int length_parse(struct span s, uint64_t *ret)
{
	uint64_t n = 0;

	if (!s.len || s.len > 18)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9')
			return -EINVAL;
		n = n * 10 + (s.data[i] - '0');
	}
	*ret = n;
	return 0;
}

/* One field, and all it says is chunked. */
static int coding_check(const struct http1_summary *s)
{
	struct span list = s->first[HTTP1_TRANSFER_ENCODING], word, last = { 0 };
	unsigned int n = 0;

	if (s->n[HTTP1_TRANSFER_ENCODING] != 1)
		return -EINVAL;
	while (http1_list_next(&list, &word)) {
		last = word;
		n++;
	}
	if (!http1_word_is(last, "chunked"))
		return -EINVAL;
	return n == 1 ? 0 : -EOPNOTSUPP;
}

int http1_request_body(const struct http1_summary *s, uint8_t minor, struct http1_body *ret)
{
	bool coded = s->n[HTTP1_TRANSFER_ENCODING];

	*ret = (struct http1_body){ 0 };
	if (coded && (s->n[HTTP1_CONTENT_LENGTH] || !minor))
		return -EINVAL;
	if (coded) {
		ret->framing = HTTP1_CHUNKED;
		return coding_check(s);
	}
	if (!s->n[HTTP1_CONTENT_LENGTH])
		return 0;
	ret->framing = HTTP1_LENGTH;
	if (s->n[HTTP1_CONTENT_LENGTH] > 1)
		return -EINVAL;
	return length_parse(s->first[HTTP1_CONTENT_LENGTH], &ret->left);
}

int http1_response_body(const struct http1_summary *s, uint8_t minor, unsigned int status,
			bool no_content, struct http1_body *ret)
{
	struct http1_body body;
	int r = http1_request_body(s, minor, &body);

	if (r < 0)
		return r;
	if (no_content || status < 200 || status == 204 || status == 304)
		body = (struct http1_body){ 0 };
	else if (body.framing == HTTP1_NO_BODY)
		body.framing = HTTP1_TO_THE_END;
	*ret = body;
	return 0;
}

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum codec_result step_to(struct http1_body *b, enum step step)
{
	b->step = (uint8_t)step;
	return CODEC_MORE;
}

/* Behind the size; the space was once used as padding. */
static enum codec_result step_space(struct http1_body *b, uint8_t c)
{
	if (c == '\r')
		return step_to(b, STEP_SIZE_LF);
	if (c == ';')
		return step_to(b, STEP_EXTENSION);
	if ((c != ' ' && c != '\t') || ++b->line_bytes >= CHUNK_LINE_MAX_BYTES)
		return CODEC_BAD;
	return step_to(b, STEP_SPACE);
}

static enum codec_result step_size(struct http1_body *b, uint8_t c)
{
	int digit = hex(c);

	if (digit >= 0) {
		b->left = b->left << 4 | (uint64_t)digit;
		return ++b->digits > DIGITS_MAX ? CODEC_BAD : CODEC_MORE;
	}
	if (!b->digits)
		return CODEC_BAD;
	return step_space(b, c);
}

static bool is_text(uint8_t c)
{
	return (c >= ' ' && c != 0x7f) || c == '\t';
}

/* All but data. */
static enum codec_result step_byte(struct http1_body *b, uint8_t c)
{
	switch ((enum step)b->step) {
	case STEP_SIZE:
		return step_size(b, c);
	case STEP_SPACE:
		return step_space(b, c);
	case STEP_EXTENSION:
		if (c == '\r')
			return step_to(b, STEP_SIZE_LF);
		return is_text(c) && ++b->line_bytes < CHUNK_LINE_MAX_BYTES ? CODEC_MORE
									    : CODEC_BAD;
	case STEP_SIZE_LF:
		b->digits = 0;
		b->line_bytes = 0;
		step_to(b, b->left ? STEP_DATA : STEP_TRAILER_START);
		return c == '\n' ? CODEC_MORE : CODEC_BAD;
	case STEP_DATA_CR:
		step_to(b, STEP_DATA_LF);
		return c == '\r' ? CODEC_MORE : CODEC_BAD;
	case STEP_DATA_LF:
		step_to(b, STEP_SIZE);
		return c == '\n' ? CODEC_MORE : CODEC_BAD;
	case STEP_TRAILER_START:
		if (c == '\r')
			return step_to(b, STEP_END_LF);
		step_to(b, STEP_TRAILER);
		return is_text(c) ? CODEC_MORE : CODEC_BAD;
	case STEP_TRAILER:
		if (c == '\r')
			return step_to(b, STEP_TRAILER_LF);
		return is_text(c) ? CODEC_MORE : CODEC_BAD;
	case STEP_TRAILER_LF:
		step_to(b, STEP_TRAILER_START);
		return c == '\n' ? CODEC_MORE : CODEC_BAD;
	case STEP_END_LF:
		return c == '\n' ? CODEC_DONE : CODEC_BAD;
	case STEP_DATA:
		break;
	}
	return CODEC_BAD;
}

static enum codec_result chunked_read(struct http1_body *b, uint8_t *bytes, size_t len,
				      size_t *ret_used, size_t *ret_content,
				      struct span *ret_trailers)
{
	enum codec_result r = CODEC_MORE;
	size_t at = 0, content = 0, trailers_at = len;

	while (at < len && r == CODEC_MORE) {
		if (b->step == STEP_DATA) {
			size_t n = b->left < len - at ? (size_t)b->left : len - at;

			memmove(bytes + content, bytes + at, n);
			content += n;
			at += n;
			b->left -= n;
			if (!b->left)
				step_to(b, STEP_DATA_CR);
			continue;
		}
		if (b->step >= STEP_TRAILER_START) {
			if (trailers_at == len)
				trailers_at = at;
			if (++b->line_bytes > HTTP1_TRAILERS_MAX_BYTES)
				return CODEC_BAD;
		}
		r = step_byte(b, bytes[at++]);
	}
	*ret_used = at;
	*ret_content = content;
	*ret_trailers = span_of(bytes + trailers_at, trailers_at < at ? at - trailers_at : 0);
	return r;
}

enum codec_result http1_body_read(struct http1_body *b, uint8_t *bytes, size_t len,
				  size_t *ret_used, size_t *ret_content, struct span *ret_trailers)
{
	*ret_used = *ret_content = 0;
	*ret_trailers = span_of(NULL, 0);
	switch (b->framing) {
	case HTTP1_NO_BODY:
		return CODEC_DONE;
	case HTTP1_LENGTH:
		*ret_used = *ret_content = b->left < len ? (size_t)b->left : len;
		b->left -= *ret_used;
		return b->left ? CODEC_MORE : CODEC_DONE;
	case HTTP1_CHUNKED:
		return chunked_read(b, bytes, len, ret_used, ret_content, ret_trailers);
	case HTTP1_TO_THE_END:
		*ret_used = *ret_content = len;
		return CODEC_MORE;
	}
	return CODEC_BAD;
}

size_t http1_chunk_line(uint64_t len, char dst[static HTTP1_CHUNK_LINE_CAP])
{
	return (size_t)snprintf(dst, HTTP1_CHUNK_LINE_CAP, "%llx\r\n", (unsigned long long)len);
}
