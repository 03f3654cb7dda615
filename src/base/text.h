/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>

#include "base/span.h"

/**
 * text_escape() - make bytes from outside fit for a log line
 *
 * Printable ASCII except backslash stays; all else becomes \n, \r, \t, \\ or \xHH.  Cut at
 * whole escapes when @dst is too small, then ending in "...".
 *
 * Return: @dst, always NUL-terminated (@cap_bytes >= 8).
 */
const char *text_escape(struct span s, char *dst, size_t cap_bytes);

/* Lower-case ASCII in place. */
void text_lower(char *s);

/* A heap copy of @s, lower-cased; NULL: out of memory. */
char *text_dup_lower(struct span s);

/* A heap copy of @s as it is (it must not contain NUL); NULL: out of memory. */
char *text_dup(struct span s);

#endif
