/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct addr - one end of a flow: IP address and port
 * @family:	4, 6, or 0 for "not known"
 * @port:	host byte order
 * @scope_id:	interface of an IPv6 link-local address, else 0
 * @ip:		network byte order; IPv4 uses the first four bytes, the rest is zero
 *
 * Zero is a valid initial value.  IPv4-mapped IPv6 addresses never appear here: whoever makes
 * a struct addr unmaps them (addr_unmap()).
 */
struct addr {
	uint8_t family;
	uint16_t port;
	uint32_t scope_id;
	uint8_t ip[16];
};

/* Room for any address as text: [v6%scope]:port and a NUL. */
#define ADDR_TEXT_MAX 80

/**
 * addr_parse() - "192.0.2.1:80", "[2001:db8::1]:443", "[fe80::1%eth0]:80"
 *
 * The port is mandatory, 0..65535 in decimal without leading zeros; IPv4 is strictly
 * dotted-quad (inet_pton(3)); IPv6 stands in brackets.
 *
 * Return: 0, or -EINVAL.
 */
int addr_parse(const char *text, struct addr *ret);

/**
 * addr_parse_ip() - an address without a port; @ret->port is 0
 *
 * Return: 0, or -EINVAL.
 */
int addr_parse_ip(const char *text, struct addr *ret);

/**
 * addr_format() - ip:port, IPv6 in brackets
 *
 * Return: @dst, always NUL-terminated.
 */
const char *addr_format(const struct addr *a, char dst[static ADDR_TEXT_MAX]);

/* The same without the port and without brackets. */
const char *addr_format_ip(const struct addr *a, char dst[static ADDR_TEXT_MAX]);

/* Turn ::ffff:a.b.c.d into a.b.c.d in place. */
void addr_unmap(struct addr *a);

bool addr_ip_eq(const struct addr *a, const struct addr *b);
bool addr_eq(const struct addr *a, const struct addr *b); /* ip, scope and port */
bool addr_is_loopback(const struct addr *a);		  /* 127.0.0.0/8, ::1 */
bool addr_is_unspecified(const struct addr *a);		  /* 0.0.0.0, :: */

/* Bytes of @ip that count: 4, 16 or 0. */
static inline size_t addr_ip_len(const struct addr *a)
{
	return a->family == 4 ? 4 : a->family == 6 ? 16 : 0;
}

#endif
