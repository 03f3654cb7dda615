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

static void key_pad(const uint8_t *key, uint8_t with, uint8_t ret[static SHA256_CBLOCK])
{
	for (size_t i = 0; i < SHA256_CBLOCK; i++)
		ret[i] = (uint8_t)((i < CRYPTO_SHA256_BYTES ? key[i] : 0) ^ with);
}

int crypto_hmac(const uint8_t key[static CRYPTO_SHA256_BYTES], const struct span *pieces, size_t n,
		uint8_t ret[static CRYPTO_SHA256_BYTES])
{
	static_assert(CRYPTO_SHA256_BYTES == SHA256_DIGEST_LENGTH, "length of the digest");
	uint8_t pad[SHA256_CBLOCK], inner[CRYPTO_SHA256_BYTES];
	SHA256_CTX c;
	int ok;

	key_pad(key, 0x36, pad);
	ok = SHA256_Init(&c) && SHA256_Update(&c, pad, sizeof(pad));
	for (size_t i = 0; i < n; i++)
		if (pieces[i].len)
			ok = ok && SHA256_Update(&c, pieces[i].data, pieces[i].len);
	ok = ok && SHA256_Final(inner, &c);
	key_pad(key, 0x5c, pad);
	ok = ok && SHA256_Init(&c) && SHA256_Update(&c, pad, sizeof(pad)) &&
	     SHA256_Update(&c, inner, sizeof(inner)) && SHA256_Final(ret, &c);
	return ok ? 0 : -EIO;
}

void crypto_base64(struct span in, char *dst)
{
	if (!in.len) {
		*dst = '\0';
		return;
	}
	EVP_EncodeBlock((unsigned char *)dst, in.data, (int)in.len);
}
