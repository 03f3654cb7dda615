/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SOCKS_SPLIT_H
#define TESTS_UNIT_SOCKS_SPLIT_H

#include "codec/socks.h"
#include "split.h"

/* One for each message that comes in pieces. */

static inline enum codec_result socks_methods_split_parse(void *scan, struct span in, void *ret)
{
	return socks5_methods_parse(in, ret);
}

static inline bool socks_methods_split_same(const void *a, const void *b)
{
	const struct socks_methods *x = a, *y = b;

	return x->none == y->none && x->password == y->password && x->bytes == y->bytes;
}

static const struct split socks_methods_split = {
	.parse = socks_methods_split_parse,
	.same = socks_methods_split_same,
	.scan_bytes = 1,
	.ret_bytes = sizeof(struct socks_methods),
};

static inline enum codec_result socks_login_split_parse(void *scan, struct span in, void *ret)
{
	return socks5_login_parse(in, ret);
}

static inline bool socks_login_split_same(const void *a, const void *b)
{
	const struct socks_login *x = a, *y = b; /* the spans may point into different copies */

	return x->user.len == y->user.len && x->password.len == y->password.len &&
	       x->bytes == y->bytes;
}

static const struct split socks_login_split = {
	.parse = socks_login_split_parse,
	.same = socks_login_split_same,
	.scan_bytes = 1,
	.ret_bytes = sizeof(struct socks_login),
};

static inline enum codec_result socks5_request_split_parse(void *scan, struct span in, void *ret)
{
	return socks5_request_parse(in, ret);
}

static inline enum codec_result socks4_request_split_parse(void *scan, struct span in, void *ret)
{
	return socks4_request_parse(in, ret);
}

static inline bool socks_request_split_same(const void *a, const void *b)
{
	const struct socks_request *x = a, *y = b;

	return x->version == y->version && x->command == y->command &&
	       addr_eq(&x->address, &y->address) && !strcmp(x->name, y->name) &&
	       x->user.len == y->user.len && x->bytes == y->bytes;
}

static const struct split socks5_request_split = {
	.parse = socks5_request_split_parse,
	.same = socks_request_split_same,
	.scan_bytes = 1,
	.ret_bytes = sizeof(struct socks_request),
};

static const struct split socks4_request_split = {
	.parse = socks4_request_split_parse,
	.same = socks_request_split_same,
	.scan_bytes = 1,
	.ret_bytes = sizeof(struct socks_request),
};

struct socks_reply {
	uint8_t status;
	struct addr bound;
	size_t bytes;
};

static inline enum codec_result socks5_reply_split_parse(void *scan, struct span in, void *ret)
{
	struct socks_reply *r = ret;

	return socks5_reply_parse(in, &r->status, &r->bound, &r->bytes);
}

static inline bool socks5_reply_split_same(const void *a, const void *b)
{
	const struct socks_reply *x = a, *y = b;

	return x->status == y->status && addr_eq(&x->bound, &y->bound) && x->bytes == y->bytes;
}

static const struct split socks5_reply_split = {
	.parse = socks5_reply_split_parse,
	.same = socks5_reply_split_same,
	.scan_bytes = 1,
	.ret_bytes = sizeof(struct socks_reply),
};

#endif
