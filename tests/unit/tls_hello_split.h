/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TLS_HELLO_SPLIT_H
#define TESTS_UNIT_TLS_HELLO_SPLIT_H

#include "codec/tls_hello.h"
#include "split.h"

static inline enum codec_result tls_hello_split_parse(void *scan, struct span in, void *ret)
{
	return tls_hello_parse(scan, in, ret);
}

static inline bool tls_hello_split_same(const void *a, const void *b)
{
	const struct tls_hello *x = a, *y = b;

	return !strcmp(x->sni, y->sni) && !strcmp(x->alpn, y->alpn) && x->version == y->version &&
	       x->legacy_version == y->legacy_version && x->ech == y->ech &&
	       x->wire_bytes == y->wire_bytes && x->message_bytes == y->message_bytes &&
	       x->records == y->records && x->n_ciphers == y->n_ciphers &&
	       x->n_extensions == y->n_extensions;
}

static const struct split tls_hello_split = {
	.parse = tls_hello_split_parse,
	.same = tls_hello_split_same,
	.scan_bytes = sizeof(struct tls_hello_scan),
	.ret_bytes = sizeof(struct tls_hello),
};

#endif
