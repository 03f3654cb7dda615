/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_IP_TCP_SPLIT_H
#define TESTS_UNIT_IP_TCP_SPLIT_H

#include "codec/ip_tcp.h"
#include "split.h"

static inline enum codec_result ip_tcp_split_parse(void *scan, struct span in, void *ret)
{
	(void)scan;
	return ip_tcp_parse(in, ret);
}

static inline bool ip_tcp_split_same(const void *a, const void *b)
{
	const struct ip_tcp *x = a, *y = b;

	return addr_eq(&x->from, &y->from) && addr_eq(&x->to, &y->to) && x->seq == y->seq &&
	       x->flags == y->flags && x->head_len == y->head_len;
}

static const struct split ip_tcp_split = {
	.parse = ip_tcp_split_parse,
	.same = ip_tcp_split_same,
	.scan_bytes = 1,
	.ret_bytes = sizeof(struct ip_tcp),
};

/* The sum over all of a correct packet part is 0xffff: RFC 1071. */
static inline uint16_t ip_tcp_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += (uint32_t)p[i] << (i % 2 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Are all checksums of an answer right, and is it addressed to who sent @about? */
static inline bool ip_tcp_answer_ok(const struct ip_tcp *about, const uint8_t *p, size_t len)
{
	bool v4 = about->from.family == 4;
	size_t ip_len = v4 ? 20 : 40, addr_len = v4 ? 4 : 16, at = v4 ? 12 : 8;
	uint8_t protocol = v4 ? p[9] : p[6];
	uint32_t pseudo = protocol == 1 ? 0 : (uint32_t)(len - ip_len) + protocol;

	if (p[0] >> 4 != (v4 ? 4 : 6))
		return false;
	if (v4 && ((size_t)(p[2] << 8 | p[3]) != len || ip_tcp_sum(0, p, ip_len) != 0xffff))
		return false;
	if (!v4 && (size_t)(p[4] << 8 | p[5]) != len - ip_len)
		return false;
	if (memcmp(p + at, about->to.ip, addr_len) ||
	    memcmp(p + at + addr_len, about->from.ip, addr_len))
		return false;
	if (pseudo)
		pseudo += ip_tcp_sum(0, p + at, 2 * addr_len);
	return ip_tcp_sum(pseudo, p + ip_len, len - ip_len) == 0xffff;
}

#endif
