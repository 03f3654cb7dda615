/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_PROXY_HEADER_SPLIT_H
#define TESTS_UNIT_PROXY_HEADER_SPLIT_H

#include "codec/proxy_header.h"
#include "split.h"

static inline enum codec_result proxy_header_split_parse(void *scan, struct span in, void *ret)
{
	return proxy_header_parse(in, ret);
}

static inline bool proxy_header_split_same(const void *a, const void *b)
{
	const struct proxy_header *x = a, *y = b;

	return x->version == y->version && x->local == y->local && x->datagram == y->datagram &&
	       x->ssl == y->ssl && x->ssl_verified == y->ssl_verified &&
	       x->ssl_client == y->ssl_client && addr_eq(&x->source, &y->source) &&
	       addr_eq(&x->destination, &y->destination) && x->alpn.len == y->alpn.len &&
	       x->authority.len == y->authority.len && x->unique_id.len == y->unique_id.len &&
	       x->netns.len == y->netns.len && x->ssl_version.len == y->ssl_version.len &&
	       x->ssl_cn.len == y->ssl_cn.len && x->ssl_cipher.len == y->ssl_cipher.len &&
	       x->bytes == y->bytes;
}

static const struct split proxy_header_split = {
	.parse = proxy_header_split_parse,
	.same = proxy_header_split_same,
	.scan_bytes = 1,
	.ret_bytes = sizeof(struct proxy_header),
};

#endif
