/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "codec/http1_basic.h"

/* Six bits, or -1. */
static int digit(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Return: bytes, or -errno. */
static ssize_t base64_decode(struct span s, uint8_t *dst, size_t cap_bytes)
{
	size_t n = 0, pad = 0;
	uint32_t bits = 0;

	if (!s.len || s.len % 4)
		return -EINVAL;
	if (s.len / 4 * 3 > cap_bytes)
		return -EMSGSIZE;
	while (pad < 2 && s.data[s.len - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < s.len; i++) {
		int d = i < s.len - pad ? digit(s.data[i]) : 0;

		if (d < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)d;
		if (i % 4 != 3)
			continue;
		dst[n++] = (uint8_t)(bits >> 16);
		dst[n++] = (uint8_t)(bits >> 8);
		dst[n++] = (uint8_t)bits;
	}
	return (ssize_t)(n - pad);
}

static bool starts_with_basic(struct span s)
{
	static const char scheme[] = "basic ";

	if (s.len < sizeof(scheme) - 1)
		return false;
	for (size_t i = 0; i < sizeof(scheme) - 1; i++) {
		uint8_t c = s.data[i];

		if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != (uint8_t)scheme[i])
			return false;
	}
	return true;
}

int http1_basic_parse(struct span value, uint8_t room[static HTTP1_BASIC_CAP],
		      struct span *ret_user, struct span *ret_password)
{
	const uint8_t *colon;
	ssize_t n;

	if (!starts_with_basic(value))
		return -EINVAL;
	value = span_skip(value, 6);
	while (value.len && value.data[0] == ' ')
		value = span_skip(value, 1);
	n = base64_decode(value, room, HTTP1_BASIC_CAP);
	if (n < 0)
		return (int)n;
	colon = memchr(room, ':', (size_t)n);
	if (!colon)
		return -EINVAL;
	*ret_user = span_of(room, (size_t)(colon - room));
	*ret_password = span_of(colon + 1, (size_t)(room + n - colon - 1));
	return 0;
}
