/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/crypto.h"

int crypto_sha1(struct span in, uint8_t ret[static CRYPTO_SHA1_BYTES])
{
	static_assert(CRYPTO_SHA1_BYTES == SHA_DIGEST_LENGTH, "length of the digest");
	static const uint8_t nothing;

	/*
	 * The one-shot call, not EVP_MD_fetch() each time: a fetch costs more than the digest,
	 * and keeping its result would need a global.
	 */
	return SHA1(in.len ? in.data : &nothing, in.len, ret) ? 0 : -EIO;
}

void crypto_base64(struct span in, char *dst)
{
	if (!in.len) {
		*dst = '\0';
		return;
	}
	EVP_EncodeBlock((unsigned char *)dst, in.data, (int)in.len);
}
