/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_PROGRAM_H
#define SYS_PROGRAM_H

#include <stddef.h>

/**
 * program_find() - the first file @name in a list of folders
 * @path:	folders separated by colons, as in the variable PATH; empty ones do not count;
 *		NULL is an empty list
 * @name:	without a slash
 * @mode:	what access(2) has to grant: X_OK, or F_OK where it is only to exist
 * @dst:	the file's path, when found
 * @cap_bytes:	room in @dst
 *
 * Return: 0 or -ENOENT.
 */
int program_find(const char *path, const char *name, int mode, char *dst, size_t cap_bytes);

#endif
