/* SPDX-License-Identifier: Apache-2.0 */
#define OPENSSL_SUPPRESS_DEPRECATED /* see crypto_sha1() */
#include <assert.h>
#include <errno.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/crypto.h"

int crypto_sha1(struct span in, uint8_t ret[static CRYPTO_SHA1_BYTES])
{
	static_assert(CRYPTO_SHA1_BYTES == SHA_DIGEST_LENGTH, "length of the digest");
	static const uint8_t nothing;
	SHA_CTX c;

	/*
	 * The old calls only compute.  SHA1() and EVP fetch the algorithm each time, which takes
	 * locks and memory, and OpenSSL 3.0 crashes later if its first fetch had found none.
	 */
	if (!SHA1_Init(&c) || !SHA1_Update(&c, in.len ? in.data : &nothing, in.len))
		return -EIO;
	return SHA1_Final(ret, &c) ? 0 : -EIO;
}

void crypto_base64(struct span in, char *dst)
{
	if (!in.len) {
		*dst = '\0';
		return;
	}
	EVP_EncodeBlock((unsigned char *)dst, in.data, (int)in.len);
}
