/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define CRYPTO_SHA1_BYTES 20

/* Characters of base64 for @n bytes, with padding, without NUL. */
#define CRYPTO_BASE64_LEN(n) (((n) + 2) / 3 * 4)

/**
 * crypto_sha1() - digest for identifiers, not for security
 *
 * Source: RFC 3174.
 *
 * Return: 0, or -EIO when the library refuses.
 */
int crypto_sha1(struct span in, uint8_t ret[static CRYPTO_SHA1_BYTES]);

#define CRYPTO_SHA256_BYTES 32

/* HMAC-SHA-256 of @n pieces, one after the other (RFC 2104).  Return: 0, or -EIO. */
int crypto_hmac(const uint8_t key[static CRYPTO_SHA256_BYTES], const struct span *pieces, size_t n,
		uint8_t ret[static CRYPTO_SHA256_BYTES]);

/**
 * crypto_base64() - standard alphabet, padded (RFC 4648 section 4)
 * @dst:	room for CRYPTO_BASE64_LEN(@in.len) + 1; NUL-terminated
 */
void crypto_base64(struct span in, char *dst);

#endif
