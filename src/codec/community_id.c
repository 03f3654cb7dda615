/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/crypto.h"
#include "codec/community_id.h"

enum {
	IP_PROTO_TCP = 6,
	IP_PROTO_UDP = 17,
	IP_PROTO_SCTP = 132,
};

static uint8_t *u16_put(uint8_t *p, uint16_t value)
{
	*p++ = (uint8_t)(value >> 8);
	*p++ = (uint8_t)value;
	return p;
}

void community_id(char ret[static COMMUNITY_ID_CAP], const struct addr *src, const struct addr *dst,
		  uint8_t ip_proto)
{
	bool ports =
		ip_proto == IP_PROTO_TCP || ip_proto == IP_PROTO_UDP || ip_proto == IP_PROTO_SCTP;
	size_t ip_len = addr_ip_len(src);
	uint8_t digest[CRYPTO_SHA1_BYTES];
	uint8_t in[2 + 2 * 16 + 2 + 2 * 2]; /* seed, addresses, protocol, padding, ports */
	uint8_t *p = in;
	int order;

	static_assert(COMMUNITY_ID_CAP > 2 + CRYPTO_BASE64_LEN(CRYPTO_SHA1_BYTES), "room");
	ret[0] = '\0';
	if (!ip_len || src->family != dst->family)
		return;
	order = memcmp(src->ip, dst->ip, ip_len);
	if (order > 0 || (!order && src->port > dst->port)) {
		const struct addr *swap = src;

		src = dst;
		dst = swap;
	}
	p = u16_put(p, 0);
	memcpy(p, src->ip, ip_len);
	memcpy(p + ip_len, dst->ip, ip_len);
	p += 2 * ip_len;
	*p++ = ip_proto;
	*p++ = 0;
	if (ports) {
		p = u16_put(p, src->port);
		p = u16_put(p, dst->port);
	}
	if (crypto_sha1(span_of(in, (size_t)(p - in)), digest) < 0)
		return;
	memcpy(ret, "1:", 2);
	crypto_base64(span_of(digest, sizeof(digest)), ret + 2);
}
