/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_HOSTS_H
#define DIAL_HOSTS_H

#include "base/addr.h"

/**
 * hosts_find() - addresses of a name in a file as hosts(5)
 * @name:	lower case, without a trailing dot
 * @family:	4 or 6
 * @cap:	room in @ret; what is more is left out
 *
 * Return: how many there are, possibly 0; -ENOENT when the file does not know the name at all
 * (or is not there).
 */
int hosts_find(const char *path, const char *name, uint8_t family, struct addr *ret,
	       unsigned int cap);

#endif
