/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Write one byte as text fit for a log into @dst (room for 4); bytes written. */
static size_t byte_escape(uint8_t c, char *dst)
{
	static const char hex[] = "0123456789abcdef";
	char letter = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c == '\\' ? '\\' : 0;

	dst[0] = '\\';
	if (letter) {
		dst[1] = letter;
		return 2;
	}
	if (c >= 0x20 && c < 0x7f) {
		dst[0] = (char)c;
		return 1;
	}
	dst[1] = 'x';
	dst[2] = hex[c >> 4];
	dst[3] = hex[c & 15];
	return 4;
}

const char *text_escape(struct span s, char *dst, size_t cap_bytes)
{
	static const char dots[] = "...";
	size_t at = 0;
	size_t cut = 0; /* last end of an escape behind which the dots still fit */

	for (size_t i = 0; i < s.len; i++) {
		char one[4];
		size_t n = byte_escape(s.data[i], one);

		if (at + n >= cap_bytes) {
			memcpy(dst + cut, dots, sizeof(dots));
			return dst;
		}
		memcpy(dst + at, one, n);
		at += n;
		if (at + sizeof(dots) <= cap_bytes)
			cut = at;
	}
	dst[at] = '\0';
	return dst;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

void text_lower(char *s)
{
	for (; *s; s++)
		*s = lower(*s);
}

char *text_dup(struct span s)
{
	char *copy = malloc(s.len + 1);

	if (!copy)
		return NULL;
	if (s.len)
		memcpy(copy, s.data, s.len);
	copy[s.len] = '\0';
	return copy;
}

char *text_dup_lower(struct span s)
{
	char *copy = text_dup(s);

	if (copy)
		text_lower(copy);
	return copy;
}
