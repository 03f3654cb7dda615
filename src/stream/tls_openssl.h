/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STREAM_TLS_OPENSSL_H
#define STREAM_TLS_OPENSSL_H

#include <openssl/ssl.h>

#include "stream/tls_context.h"

/* Between tls.c and tls_context.c. */

/**
 * struct tls_context - one SSL_CTX and what its streams need with it
 * @n_refs:	not atomic: all in one thread
 * @bio:	how OpenSSL reads and writes a stream's layer below: tls_bio_new()
 */
struct tls_context {
	unsigned int n_refs;
	const struct tls_settings *settings;
	SSL_CTX *ssl;
	BIO_METHOD *bio;
};

/* A BIO over the layer below of a TLS stream, which is its data.  NULL: no memory. */
BIO_METHOD *tls_bio_new(void);

#endif
