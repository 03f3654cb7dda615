/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PRIVILEGES_H
#define ENGINE_PRIVILEGES_H

#include <stddef.h>

struct config;
struct realm;

/* Who is only spoken to needs no privileges: without them @c has no mark. */
void privileges_fit(struct config *c);

/**
 * realm_become() - become @user, keeping what @c needs; see privileges_drop()
 * @error:	on failure a sentence for people
 *
 * Where connections are redirected, a process stays behind that makes sockets as the user that
 * limpid was: @realm->maker, to be freed by the caller also on failure.
 * Return: 0 or -errno.
 */
int realm_become(struct realm *realm, const struct config *c, const char *user, char *error,
		 size_t error_cap_bytes);

#endif
