/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "base/addr.h"

/* 0..@max without sign, blank or leading zeros, up to the end of @text.  -1: not that. */
static int64_t number_parse(const char *text, uint32_t max)
{
	uint64_t n = 0;

	if (!*text || (*text == '0' && text[1]))
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > max)
			return -1;
	}
	return (int64_t)n;
}

static uint32_t scope_parse(const char *text)
{
	int64_t n = number_parse(text, UINT32_MAX);

	return n > 0 ? (uint32_t)n : if_nametoindex(text);
}

static int v6_parse(const char *text, size_t len, struct addr *ret)
{
	struct addr a = { .family = 6 };
	char ip[ADDR_TEXT_MAX];
	char *scope;

	if (len >= sizeof(ip))
		return -EINVAL;
	memcpy(ip, text, len);
	ip[len] = '\0';
	scope = strchr(ip, '%');
	if (scope)
		*scope++ = '\0';
	if (inet_pton(AF_INET6, ip, a.ip) != 1)
		return -EINVAL;
	if (scope) {
		a.scope_id = scope_parse(scope);
		if (!a.scope_id)
			return -EINVAL;
	}
	addr_unmap(&a);
	if (a.family == 4 && scope)
		return -EINVAL;
	*ret = a;
	return 0;
}

static int v4_parse(const char *text, size_t len, struct addr *ret)
{
	struct addr a = { .family = 4 };
	char ip[INET_ADDRSTRLEN];

	if (len >= sizeof(ip))
		return -EINVAL;
	memcpy(ip, text, len);
	ip[len] = '\0';
	if (inet_pton(AF_INET, ip, a.ip) != 1)
		return -EINVAL;
	*ret = a;
	return 0;
}

int addr_parse(const char *text, struct addr *ret)
{
	struct addr a;
	const char *colon;
	int64_t port;
	int r;

	if (*text == '[') {
		const char *end = strchr(text, ']');

		if (!end || end[1] != ':')
			return -EINVAL;
		colon = end + 1;
		r = v6_parse(text + 1, (size_t)(end - text) - 1, &a);
	} else {
		colon = strchr(text, ':');
		if (!colon)
			return -EINVAL;
		r = v4_parse(text, (size_t)(colon - text), &a);
	}
	if (r < 0)
		return r;
	port = number_parse(colon + 1, UINT16_MAX);
	if (port < 0)
		return -EINVAL;
	a.port = (uint16_t)port;
	*ret = a;
	return 0;
}

int addr_parse_ip(const char *text, struct addr *ret)
{
	return strchr(text, ':') ? v6_parse(text, strlen(text), ret)
				 : v4_parse(text, strlen(text), ret);
}

static char *number_format(char *dst, uint32_t n)
{
	char digits[10];
	size_t len = 0;

	do
		digits[len++] = (char)('0' + n % 10);
	while (n /= 10);
	while (len)
		*dst++ = digits[--len];
	*dst = '\0';
	return dst;
}

static char *ip_format(const struct addr *a, char *dst)
{
	if (a->family == 4) {
		for (size_t i = 0; i < 4; i++) {
			if (i)
				*dst++ = '.';
			dst = number_format(dst, a->ip[i]);
		}
		return dst;
	}
	if (!inet_ntop(AF_INET6, a->ip, dst, INET6_ADDRSTRLEN))
		*dst = '\0';
	dst += strlen(dst);
	if (a->scope_id) {
		*dst++ = '%';
		dst = number_format(dst, a->scope_id);
	}
	return dst;
}

const char *addr_format(const struct addr *a, char dst[static ADDR_TEXT_MAX])
{
	char *p = dst;

	if (!addr_ip_len(a))
		return memcpy(dst, "-", 2);
	if (a->family == 6)
		*p++ = '[';
	p = ip_format(a, p);
	if (a->family == 6)
		*p++ = ']';
	*p++ = ':';
	number_format(p, a->port);
	return dst;
}

const char *addr_format_ip(const struct addr *a, char dst[static ADDR_TEXT_MAX])
{
	if (!addr_ip_len(a))
		return memcpy(dst, "-", 2);
	ip_format(a, dst);
	return dst;
}

void addr_unmap(struct addr *a)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	if (a->family != 6 || memcmp(a->ip, prefix, sizeof(prefix)))
		return;
	a->family = 4;
	a->scope_id = 0;
	memmove(a->ip, a->ip + 12, 4);
	memset(a->ip + 4, 0, 12);
}

bool addr_ip_eq(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && !memcmp(a->ip, b->ip, addr_ip_len(a));
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return addr_ip_eq(a, b) && a->port == b->port && a->scope_id == b->scope_id;
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };

	if (a->family == 4)
		return a->ip[0] == 127;
	return a->family == 6 && !memcmp(a->ip, one, sizeof(one));
}

bool addr_is_unspecified(const struct addr *a)
{
	static const uint8_t zero[16];

	return a->family && !memcmp(a->ip, zero, addr_ip_len(a));
}
