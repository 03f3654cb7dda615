/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PASSWORD_H
#define BASE_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

#define PASSWORD_MAX_BYTES 255
#define PASSWORD_HASH_CAP 384 /* CRYPT_OUTPUT_SIZE of crypt(3) */

/* Is @hash one that crypt(3) can check, and strong enough to be kept (no DES, no MD5)? */
bool password_hash_ok(const char *hash);

/**
 * password_matches() - does @password give @hash?
 *
 * Takes milliseconds to tens of them, as the hash demands: not for a thread that others wait for.
 * A password over PASSWORD_MAX_BYTES, or with a NUL in it, matches nothing.  Source: crypt(3).
 */
bool password_matches(const char *hash, struct span password);

/**
 * password_hash() - a new hash of @password, yescrypt
 *
 * Return: 0, -EINVAL (too long, a NUL in it), or another -errno.
 */
int password_hash(struct span password, char ret[static PASSWORD_HASH_CAP]);

#endif
