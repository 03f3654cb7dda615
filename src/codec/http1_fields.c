/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "codec/http1_fields.h"

static const char *const names[HTTP1_NAMES] = {
	[HTTP1_OTHER] = "",
	[HTTP1_AUTHORIZATION] = "authorization",
	[HTTP1_CONNECTION] = "connection",
	[HTTP1_CONTENT_LENGTH] = "content-length",
	[HTTP1_CONTENT_TYPE] = "content-type",
	[HTTP1_DATE] = "date",
	[HTTP1_EXPECT] = "expect",
	[HTTP1_HOST] = "host",
	[HTTP1_KEEP_ALIVE] = "keep-alive",
	[HTTP1_MAX_FORWARDS] = "max-forwards",
	[HTTP1_PROXY_AUTHENTICATE] = "proxy-authenticate",
	[HTTP1_PROXY_AUTHENTICATION_INFO] = "proxy-authentication-info",
	[HTTP1_PROXY_AUTHORIZATION] = "proxy-authorization",
	[HTTP1_PROXY_CONNECTION] = "proxy-connection",
	[HTTP1_TE] = "te",
	[HTTP1_TRANSFER_ENCODING] = "transfer-encoding",
	[HTTP1_UPGRADE] = "upgrade",
};

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool http1_word_is(struct span s, const char *text)
{
	size_t i = 0;

	for (; i < s.len; i++)
		if (!text[i] || lower(s.data[i]) != (uint8_t)text[i])
			return false;
	return !text[i];
}

bool http1_same(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.data[i]) != lower(b.data[i]))
			return false;
	return true;
}

/* RFC 9110 section 5.6.2 */
bool http1_is_token(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return s.len;
}

static struct span trim(struct span s)
{
	while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
		s = span_skip(s, 1);
	while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool http1_list_next(struct span *list, struct span *ret)
{
	while (list->len) {
		const uint8_t *comma = memchr(list->data, ',', list->len);
		struct span word =
			span_head(*list, comma ? (size_t)(comma - list->data) : list->len);

		*list = span_skip(*list, word.len + 1);
		*ret = trim(word);
		if (ret->len)
			return true;
	}
	return false;
}

static enum http1_name name_of(struct span name)
{
	/* the first letters of those below; most fields have another */
	if (!name.len || !strchr("acdehkmptu", lower(name.data[0])))
		return HTTP1_OTHER;
	for (enum http1_name i = HTTP1_OTHER + 1; i < HTTP1_NAMES; i++)
		if (http1_word_is(name, names[i]))
			return i;
	return HTTP1_OTHER;
}

/* Fields that must not be taken out of a message because its sender says so. */
static bool is_protected(struct span option)
{
	static const char *const words[] = {
		"content-length",   "transfer-encoding", "host",	  "content-type",
		"content-encoding", "content-range",	 "authorization", "cache-control",
		"cookie",	    "set-cookie",	 "via",		  "max-forwards"
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (http1_word_is(option, words[i]))
			return true;
	return false;
}

static int connection_read(struct span list, struct http1_summary *s)
{
	struct span word;

	while (http1_list_next(&list, &word)) {
		if (http1_word_is(word, "close"))
			s->close = true;
		else if (http1_word_is(word, "keep-alive"))
			s->keep_alive = true;
		else if (http1_word_is(word, "upgrade"))
			s->upgrade = true;
		else if (!http1_is_token(word) || is_protected(word))
			return -EINVAL;
		else
			s->options = true;
	}
	return 0;
}

int http1_summary_read(const struct http1_field *fields, size_t n, struct http1_summary *ret)
{
	int r = 0;

	memset(ret->first, 0, sizeof(ret->first));
	memset(ret->n, 0, sizeof(ret->n));
	ret->close = ret->keep_alive = ret->upgrade = ret->options = false;
	for (size_t i = 0; i < n && !r; i++) {
		enum http1_name name = name_of(fields[i].name);

		ret->names[i] = (uint8_t)name;
		if (!ret->n[name]++)
			ret->first[name] = fields[i].value;
		if (name == HTTP1_CONNECTION)
			r = connection_read(fields[i].value, ret);
	}
	return r;
}

/* Does Connection name this field? */
static bool is_option(const struct http1_summary *s, const struct http1_field *fields, size_t n,
		      struct span name)
{
	for (size_t i = 0; i < n; i++) {
		struct span list = fields[i].value, word;

		if (s->names[i] != HTTP1_CONNECTION)
			continue;
		while (http1_list_next(&list, &word))
			if (http1_same(word, name))
				return true;
	}
	return false;
}

bool http1_goes_on(const struct http1_summary *s, const struct http1_field *fields, size_t n,
		   size_t i)
{
	switch ((enum http1_name)s->names[i]) {
	case HTTP1_CONNECTION:
	case HTTP1_CONTENT_LENGTH:
	case HTTP1_EXPECT:
	case HTTP1_HOST:
	case HTTP1_KEEP_ALIVE:
	case HTTP1_MAX_FORWARDS:
	case HTTP1_PROXY_AUTHENTICATE:
	case HTTP1_PROXY_AUTHENTICATION_INFO:
	case HTTP1_PROXY_AUTHORIZATION:
	case HTTP1_PROXY_CONNECTION:
	case HTTP1_TE:
	case HTTP1_TRANSFER_ENCODING:
	case HTTP1_UPGRADE:
		return false;
	case HTTP1_OTHER:
	case HTTP1_AUTHORIZATION:
	case HTTP1_CONTENT_TYPE:
	case HTTP1_DATE:
	case HTTP1_NAMES:
		break;
	}
	return !s->options || !is_option(s, fields, n, fields[i].name);
}

static bool is_value(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((s.data[i] < ' ' && s.data[i] != '\t') || s.data[i] == 0x7f)
			return false;
	return true;
}

int http1_fields_parse(struct span lines, bool spaced, struct http1_field *fields, size_t max)
{
	size_t n = 0;

	while (lines.len) {
		const uint8_t *lf = memchr(lines.data, '\n', lines.len);
		size_t len = lf ? (size_t)(lf - lines.data) : 0;
		struct span line = span_head(lines, len ? len - 1 : 0);
		const uint8_t *colon = line.len ? memchr(line.data, ':', line.len) : NULL;
		struct http1_field *f = &fields[n];

		if (!colon || lf[-1] != '\r' || n == max)
			return -EINVAL;
		f->name = span_head(line, (size_t)(colon - line.data));
		while (spaced && f->name.len > 1 &&
		       (f->name.data[f->name.len - 1] == ' ' ||
			f->name.data[f->name.len - 1] == '\t'))
			f->name.len--;
		f->value = trim(span_skip(line, (size_t)(colon - line.data) + 1));
		if (!http1_is_token(f->name) || !is_value(f->value))
			return -EINVAL;
		n++;
		lines = span_skip(lines, len + 1);
	}
	return (int)n;
}
