/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Two passes.  A machine that steps from byte to byte decides what the head is and where it ends;
 * as it never looks ahead, its answer cannot depend on how the input is cut, and every byte is
 * visited once.  When it has seen the empty line the head is known to be well formed, and
 * request_read() only has to find the places again: it fails for nothing but the meaning of
 * target and Host.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/hostname.h"
#include "codec/http1.h"

#define EMPTY_LINES_MAX 2

enum step {
	STEP_START,
	STEP_START_LF,
	STEP_METHOD,
	STEP_TARGET,
	STEP_VERSION,
	STEP_LINE_CR,
	STEP_LINE_LF,
	STEP_FIELD,
	STEP_NAME,
	STEP_VALUE,
	STEP_VALUE_LF,
	STEP_END_LF,
};

/* RFC 9110 section 5.6.2 */
static bool is_token(uint8_t c)
{
	static const bool token[256] = {
		['!'] = true,	      ['#' ... '\''] = true, ['*'] = true,
		['+'] = true,	      ['-'] = true,	     ['.'] = true,
		['0' ... '9'] = true, ['A' ... 'Z'] = true,  ['^' ... 'z'] = true,
		['|'] = true,	      ['~'] = true,
	};

	return token[c];
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static enum codec_result step_to(struct http1_scan *scan, enum step step)
{
	scan->step = (uint8_t)step;
	scan->word_at = scan->at + 1;
	return CODEC_MORE;
}

/* Between requests a client may have sent empty lines too many (RFC 9112 section 2.2). */
static enum codec_result step_start(struct http1_scan *scan, uint8_t c)
{
	if (c == '\r' && scan->n_empty < EMPTY_LINES_MAX) {
		scan->n_empty++;
		return step_to(scan, STEP_START_LF);
	}
	if (!is_token(c))
		return CODEC_OTHER;
	step_to(scan, STEP_METHOD);
	scan->word_at = scan->start_at = scan->at;
	return CODEC_MORE;
}

static enum codec_result step_method(struct http1_scan *scan, uint8_t c)
{
	if (c == ' ')
		return step_to(scan, STEP_TARGET);
	if (!is_token(c) || scan->at - scan->word_at >= HTTP1_METHOD_MAX_BYTES)
		return CODEC_OTHER;
	return CODEC_MORE;
}

static enum codec_result step_target(struct http1_scan *scan, uint8_t c)
{
	if (c == ' ' && scan->at > scan->word_at)
		return step_to(scan, STEP_VERSION);
	return c <= ' ' || c == 0x7f ? CODEC_OTHER : CODEC_MORE;
}

static enum codec_result step_version(struct http1_scan *scan, struct span in)
{
	static const char version[] = "HTTP/1.";
	static const char h2[] = "PRI * ";
	uint8_t c = in.data[scan->at];
	size_t i = scan->at - scan->word_at;

	if (i == sizeof(version) - 1)
		return is_digit(c) ? step_to(scan, STEP_LINE_CR) : CODEC_BAD;
	if (c == (uint8_t)version[i])
		return CODEC_MORE;
	if (i < strlen("HTTP/"))
		return CODEC_OTHER;
	if (c == '2' && scan->word_at - scan->start_at == strlen(h2) &&
	    !memcmp(in.data + scan->start_at, h2, strlen(h2))) {
		scan->h2 = true;
		return CODEC_OTHER;
	}
	scan->other_major = i == strlen("HTTP/") && is_digit(c);
	return CODEC_BAD;
}

static enum codec_result step_field(struct http1_scan *scan, uint8_t c)
{
	if (c == '\r')
		return step_to(scan, STEP_END_LF);
	if (!is_token(c) || scan->n_fields == HTTP1_MAX_FIELDS)
		return CODEC_BAD;
	scan->n_fields++;
	return step_to(scan, STEP_NAME);
}

static enum codec_result step_name(struct http1_scan *scan, uint8_t c)
{
	if (c == ':')
		return step_to(scan, STEP_VALUE);
	return is_token(c) ? CODEC_MORE : CODEC_BAD;
}

static bool is_value(uint8_t c)
{
	return (c >= ' ' && c != 0x7f) || c == '\t';
}

/* The only step that takes more than a byte: most of a head is values. */
static enum codec_result step_value(struct http1_scan *scan, struct span in)
{
	while (is_value(in.data[scan->at])) {
		if (scan->at + 1 == in.len)
			return CODEC_MORE;
		scan->at++;
	}
	return in.data[scan->at] == '\r' ? step_to(scan, STEP_VALUE_LF) : CODEC_BAD;
}

static enum codec_result step_byte(struct http1_scan *scan, struct span in)
{
	uint8_t c = in.data[scan->at];

	switch ((enum step)scan->step) {
	case STEP_START:
		return step_start(scan, c);
	case STEP_START_LF:
		return c == '\n' ? step_to(scan, STEP_START) : CODEC_OTHER;
	case STEP_METHOD:
		return step_method(scan, c);
	case STEP_TARGET:
		return step_target(scan, c);
	case STEP_VERSION:
		return step_version(scan, in);
	case STEP_LINE_CR:
		return c == '\r' ? step_to(scan, STEP_LINE_LF) : CODEC_BAD;
	case STEP_LINE_LF:
	case STEP_VALUE_LF:
		return c == '\n' ? step_to(scan, STEP_FIELD) : CODEC_BAD;
	case STEP_FIELD:
		return step_field(scan, c);
	case STEP_NAME:
		return step_name(scan, c);
	case STEP_VALUE:
		return step_value(scan, in);
	case STEP_END_LF:
		return c == '\n' ? CODEC_DONE : CODEC_BAD;
	}
	return CODEC_BAD;
}

static int port_parse(struct span s, uint16_t *ret)
{
	unsigned port = 0;

	if (!s.len || s.len > 5)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_digit(s.data[i]))
			return -EINVAL;
		port = port * 10 + (s.data[i] - '0');
	}
	if (!port || port > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

/* Place of the first @c in @s, or its length. */
static size_t span_find(struct span s, uint8_t c)
{
	const uint8_t *p = s.len ? memchr(s.data, c, s.len) : NULL;

	return p ? (size_t)(p - s.data) : s.len;
}

int http1_authority_parse(struct span s, char host[static 256], bool *ret_is_ip, uint16_t *ret_port)
{
	bool bracket = s.len && s.data[0] == '[';
	struct span name, rest;
	size_t colon;

	static_assert(HOSTNAME_CAP <= 256, "room for a name");
	host[0] = '\0';
	*ret_is_ip = false;
	*ret_port = 0;
	if (!s.len)
		return 0;
	if (bracket) {
		s = span_skip(s, 1);
		name = span_head(s, span_find(s, ']'));
		rest = span_skip(s, name.len + 1);
		if (name.len == s.len || (rest.len && rest.data[0] != ':'))
			return -EINVAL;
	} else {
		colon = span_find(s, ':');
		name = span_head(s, colon);
		rest = span_skip(s, colon);
	}
	*ret_is_ip = hostname_is_ip(name);
	if (bracket != (*ret_is_ip && span_find(name, ':') < name.len))
		return -EINVAL;
	if (*ret_is_ip) {
		for (size_t i = 0; i < name.len; i++)
			host[i] = (char)lower(name.data[i]);
		host[name.len] = '\0';
	} else if (hostname_parse(name, host) < 0) {
		return -EINVAL;
	}
	/* A colon with nothing behind it means the scheme's port (RFC 3986 section 3.2.3). */
	return rest.len > 1 ? port_parse(span_skip(rest, 1), ret_port) : 0;
}

bool http1_field_is(const struct http1_field *f, const char *name)
{
	size_t i = 0;

	for (; i < f->name.len; i++)
		if (!name[i] || lower(f->name.data[i]) != (uint8_t)name[i])
			return false;
	return !name[i];
}

bool http1_request_has(const struct http1_request *q, const char *name)
{
	for (size_t i = 0; i < q->n_fields; i++)
		if (http1_field_is(&q->fields[i], name))
			return true;
	return false;
}

/* The authority of "scheme://authority/path", or false when @target is nothing of that kind. */
static bool absolute_authority(struct span target, struct span *ret)
{
	size_t colon = span_find(target, ':');
	struct span rest = span_skip(target, colon);
	size_t end = 0;

	if (!colon || rest.len < 3 || memcmp(rest.data, "://", 3))
		return false;
	for (size_t i = 0; i < colon; i++)
		if (!is_token(target.data[i]))
			return false;
	rest = span_skip(rest, 3);
	while (end < rest.len && !strchr("/?#", rest.data[end]))
		end++;
	*ret = span_head(rest, end);
	return true;
}

/* Which form the target has and which host it names.  @host_field: value of Host, or empty. */
static bool target_read(struct http1_request *q, struct span host_field)
{
	bool connect = span_eq_str(q->method, "CONNECT");
	struct span authority = host_field;

	if (connect) {
		q->form = HTTP1_FORM_AUTHORITY;
		authority = q->target;
	} else if (q->target.data[0] == '/') {
		q->form = HTTP1_FORM_ORIGIN;
	} else if (span_eq_str(q->target, "*") && span_eq_str(q->method, "OPTIONS")) {
		q->form = HTTP1_FORM_ASTERISK;
	} else if (absolute_authority(q->target, &authority)) {
		q->form = HTTP1_FORM_ABSOLUTE;
		if (!authority.len)
			return false;
	} else {
		return false;
	}
	if (http1_authority_parse(authority, q->host, &q->host_is_ip, &q->port) < 0)
		return false;
	return !connect || q->port;
}

static struct span trim(struct span s)
{
	while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
		s = span_skip(s, 1);
	while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Everything up to the next @c, which is there; @rest goes on behind it. */
static struct span cut(struct span *rest, uint8_t c)
{
	struct span word = span_head(*rest, span_find(*rest, c));

	*rest = span_skip(*rest, word.len + 1);
	return word;
}

/* @head: from the request line to the empty line, known to be well formed. */
static bool request_read(struct span head, size_t n_fields, struct http1_request *q)
{
	struct span line, host = { 0 };
	char host_text[256];
	bool has_host = false, is_ip;
	uint16_t port;

	line = cut(&head, '\n');
	q->method = cut(&line, ' ');
	q->target = cut(&line, ' ');
	q->minor = line.data[strlen("HTTP/1.")] != '0'; /* of a higher one we speak 1.1 */
	q->user_agent = span_of(NULL, 0);
	q->n_fields = n_fields;
	for (size_t i = 0; i < n_fields; i++) {
		struct http1_field *f = &q->fields[i];

		line = cut(&head, '\n');
		line.len--; /* the CR */
		f->name = cut(&line, ':');
		f->value = trim(line);
		if (http1_field_is(f, "host")) {
			if (has_host)
				return false;
			has_host = true;
			host = f->value;
		} else if (!q->user_agent.data && http1_field_is(f, "user-agent")) {
			q->user_agent = f->value;
		}
	}
	q->host_missing = !has_host && q->minor == 1;
	/* An invalid Host is wrong even where the target overrides it. */
	if (http1_authority_parse(host, host_text, &is_ip, &port) < 0)
		return false;
	return target_read(q, host);
}

enum codec_result http1_request_parse(struct http1_scan *scan, struct span in,
				      size_t head_max_bytes, struct http1_request *ret)
{
	enum codec_result r = CODEC_MORE;
	struct span head;

	in = span_head(in, head_max_bytes);
	for (; scan->at < in.len; scan->at++) {
		r = step_byte(scan, in);
		if (r != CODEC_MORE)
			break;
	}
	if (r == CODEC_MORE && in.len >= head_max_bytes)
		return CODEC_BAD;
	if (r != CODEC_DONE)
		return r;
	/* scan->at stays on the last byte: asked again, the answer is the same. */
	ret->head_bytes = scan->at + 1;
	head = span_skip(span_head(in, ret->head_bytes), scan->start_at);
	return request_read(head, scan->n_fields, ret) ? CODEC_DONE : CODEC_BAD;
}
