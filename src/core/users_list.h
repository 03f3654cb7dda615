/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_USERS_LIST_H
#define CORE_USERS_LIST_H

#include <stdbool.h>

struct users;

/* Between users.c and login.c. */

/* Has the file changed since it was read?  Any thread. */
bool users_changed(struct users *u);

/* Read the file again if it has changed.  Return: it has. */
bool users_refresh(struct users *u);

/**
 * users_hash() - the hash of @name
 * @ret:	a copy; of a name that does not exist some other's, so that checking takes as long;
 *		NULL: there is none at all
 *
 * Return: 0 or -ENOENT.
 */
int users_hash(struct users *u, const char *name, char **ret);

#endif
