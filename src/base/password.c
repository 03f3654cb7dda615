/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <crypt.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/password.h"

static_assert(PASSWORD_HASH_CAP >= CRYPT_OUTPUT_SIZE, "room for a hash");

bool password_hash_ok(const char *hash)
{
	static const char *const kinds[] = { "$y$", "$gy$", "$7$", "$2a$", "$2b$", "$2y$", "$5$",
					     "$6$" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strncmp(hash, kinds[i], strlen(kinds[i]))) {
			int r = crypt_checksalt(hash);

			/* what crypt(3) would not choose for new ones any more is $5$ */
			return (r == CRYPT_SALT_OK || r == CRYPT_SALT_METHOD_LEGACY) &&
			       strlen(hash) < PASSWORD_HASH_CAP;
		}
	return false;
}

static void wipe(void *p, size_t n)
{
	if (p) /* it is; gcc's sanitizers cannot see it */
		explicit_bzero(p, n);
}

static int copy_text(struct span password, char text[static PASSWORD_MAX_BYTES + 1])
{
	if (password.len > PASSWORD_MAX_BYTES ||
	    (password.len && memchr(password.data, 0, password.len)))
		return -EINVAL;
	if (password.len)
		memcpy(text, password.data, password.len);
	text[password.len] = '\0';
	return 0;
}

static bool same(const char *a, const char *b)
{
	size_t n = strlen(a);
	unsigned char diff = 0;

	if (n != strlen(b))
		return false;
	for (size_t i = 0; i < n; i++)
		diff |= (unsigned char)(a[i] ^ b[i]);
	return !diff;
}

bool password_matches(const char *hash, struct span password)
{
	_cleanup_free_ struct crypt_data *data = calloc(1, sizeof(*data));
	char text[PASSWORD_MAX_BYTES + 1];
	const char *made;
	bool r;

	if (!data || copy_text(password, text) < 0)
		return false;
	made = crypt_rn(text, hash, data, sizeof(*data));
	r = made && same(made, hash);
	wipe(text, sizeof(text));
	wipe(data, sizeof(*data));
	return r;
}

int password_hash(struct span password, char ret[static PASSWORD_HASH_CAP])
{
	_cleanup_free_ struct crypt_data *data = calloc(1, sizeof(*data));
	char text[PASSWORD_MAX_BYTES + 1], salt[CRYPT_GENSALT_OUTPUT_SIZE];
	const char *made;

	if (!data)
		return -ENOMEM;
	if (copy_text(password, text) < 0)
		return -EINVAL;
	if (!crypt_gensalt_rn("$y$", 0, NULL, 0, salt, sizeof(salt)))
		return -errno;
	made = crypt_rn(text, salt, data, sizeof(*data));
	if (made)
		memcpy(ret, made, strlen(made) + 1);
	wipe(text, sizeof(text));
	wipe(data, sizeof(*data));
	return made ? 0 : -EINVAL;
}
