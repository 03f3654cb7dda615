/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FILE_H
#define ENGINE_FILE_H

#include <stddef.h>

/* The folder @path is in ("." for "-" and for a bare name); the caller frees it. */
char *file_folder(const char *path);

/* @path as seen from @folder; the caller frees it. */
char *file_below(const char *folder, const char *path);

/**
 * file_read() - a whole file into memory
 * @path:	"-" is standard input
 * @max_bytes:	at most one byte more is read, so that the caller sees it was too much
 *
 * Return: 0 or -errno; the caller frees @ret_bytes, which is never NULL then.
 */
int file_read(const char *path, size_t max_bytes, char **ret_bytes, size_t *ret_len);

#endif
