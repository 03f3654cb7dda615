/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "codec/json.h"

/* Room for @n more bytes, or NULL for ever after. */
static char *json_room(struct json *j, size_t n)
{
	char *p = j->dst + j->len;

	if (j->overflow || n > j->cap - j->len) {
		j->overflow = true;
		return NULL;
	}
	j->len += n;
	return p;
}

static void json_raw(struct json *j, const char *s, size_t len)
{
	char *p = json_room(j, len);

	if (p)
		memcpy(p, s, len);
}

static void json_key(struct json *j, const char *key)
{
	size_t len = strlen(key);
	char *p = json_room(j, len + 3 + j->comma);

	if (!p)
		return;
	if (j->comma)
		*p++ = ',';
	*p++ = '"';
	memcpy(p, key, len);
	memcpy(p + len, "\":", 2);
	j->comma = true;
}

void json_init(struct json *j, char *dst, size_t cap_bytes)
{
	*j = (struct json){ .dst = dst, .cap = cap_bytes };
	json_raw(j, "{", 1);
}

void json_open(struct json *j, const char *key)
{
	json_key(j, key);
	json_raw(j, "{", 1);
	j->comma = false;
	j->depth++;
}

void json_close(struct json *j)
{
	json_raw(j, "}", 1);
	j->comma = true;
	j->depth--;
}

void json_list_open(struct json *j, const char *key)
{
	json_key(j, key);
	json_raw(j, "[", 1);
	j->comma = false;
}

void json_item_open(struct json *j)
{
	json_raw(j, j->comma ? ",{" : "{", j->comma ? 2 : 1);
	j->comma = false;
	j->depth++;
}

void json_list_close(struct json *j)
{
	json_raw(j, "]", 1);
	j->comma = true;
}

static bool is_tail(struct span s, size_t i)
{
	return i < s.len && (s.data[i] & 0xc0) == 0x80;
}

/* Length of the well-formed UTF-8 sequence at the start of @s (RFC 3629 section 4), 0 if none. */
static size_t utf8_len(struct span s)
{
	uint8_t a = s.data[0];
	uint8_t b = s.len > 1 ? s.data[1] : 0;

	if (a < 0x80)
		return 1;
	if (!is_tail(s, 1) || a < 0xc2 || a > 0xf4)
		return 0;
	if (a < 0xe0)
		return 2;
	/* Overlong, surrogates, above U+10FFFF: all told by the second byte. */
	if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f) || (a == 0xf0 && b < 0x90) ||
	    (a == 0xf4 && b > 0x8f) || !is_tail(s, 2))
		return 0;
	if (a < 0xf0)
		return 3;
	return is_tail(s, 3) ? 4 : 0;
}

static void json_escape(struct json *j, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = "\\u00";
	char letter = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : 0;

	if (c == '"' || c == '\\')
		letter = (char)c;
	if (letter) {
		text[1] = letter;
		json_raw(j, text, 2);
		return;
	}
	text[4] = hex[c >> 4];
	text[5] = hex[c & 15];
	json_raw(j, text, sizeof(text));
}

void json_str(struct json *j, const char *key, struct span value)
{
	size_t plain = 0; /* bytes at the start of @value that go out as they are */

	json_key(j, key);
	json_raw(j, "\"", 1);
	while (plain < value.len) {
		uint8_t c = value.data[plain];
		size_t n = c < ' ' || c == '"' || c == '\\' || c == 0x7f
				   ? 0
				   : utf8_len(span_skip(value, plain));

		if (n) {
			plain += n;
			continue;
		}
		json_raw(j, (const char *)value.data, plain);
		json_escape(j, c);
		value = span_skip(value, plain + 1);
		plain = 0;
	}
	if (plain)
		json_raw(j, (const char *)value.data, plain);
	json_raw(j, "\"", 1);
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	json_key(j, key);
	json_raw(j, digits + at, sizeof(digits) - at);
}

void json_bool(struct json *j, const char *key, bool value)
{
	json_key(j, key);
	json_raw(j, value ? "true" : "false", value ? 4 : 5);
}

/* Decimal with leading zeros, exactly @n digits. */
static void digits_put(char *dst, uint64_t value, size_t n)
{
	while (n) {
		dst[--n] = (char)('0' + value % 10);
		value /= 10;
	}
}

/*
 * Days since 1970 to a date.  Years are counted from 1 March, so that the leap day is the last
 * of its year, in eras of 400 years, which all have 146097 days.
 */
static void date_put(char *dst, uint64_t days)
{
	uint64_t since_era = days + 719468; /* 0000-03-01 to 1970-01-01 */
	uint64_t era = since_era / 146097;
	uint64_t day = since_era % 146097;
	uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	uint64_t month;

	day -= year * 365 + year / 4 - year / 100;
	month = (5 * day + 2) / 153; /* 0 is March */
	day -= (153 * month + 2) / 5;
	month = month < 10 ? month + 3 : month - 9;
	digits_put(dst, era * 400 + year + (month <= 2), 4);
	digits_put(dst + 5, month, 2);
	digits_put(dst + 8, day + 1, 2);
}

void json_time(struct json *j, const char *key, uint64_t us)
{
	char text[] = "\"0000-00-00T00:00:00.000000+0000\"";
	uint64_t s = us / 1000000;

	date_put(text + 1, s / 86400);
	digits_put(text + 12, s / 3600 % 24, 2);
	digits_put(text + 15, s / 60 % 60, 2);
	digits_put(text + 18, s % 60, 2);
	digits_put(text + 21, us % 1000000, 6);
	json_key(j, key);
	json_raw(j, text, sizeof(text) - 1);
}

ssize_t json_end(struct json *j)
{
	while (j->depth)
		json_close(j);
	json_raw(j, "}", 1);
	return j->overflow ? -EMSGSIZE : (ssize_t)j->len;
}
