/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NAMESET_H
#define BASE_NAMESET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A set of domain names, matched by label: "example.net" matches that name only,
 * "*.example.net" matches every name below it (any depth) but not itself, ".example.net" both;
 * none ever matches "evilexample.net".  Built once, then immutable; a look-up costs one hash
 * per label, whatever the size of the set.
 */
struct nameset;

struct nameset *nameset_new(void); /* NULL: out of memory */
void nameset_free(struct nameset *s);

/**
 * nameset_add() - one pattern, in any case, with or without a trailing dot
 *
 * Return: 0, -EINVAL (no domain name: empty label, label over 63 bytes, name over 253 bytes, a
 * character other than letters, digits, '-', '_', a '*' anywhere but as the whole first label,
 * an IP address), -ENOMEM.
 */
int nameset_add(struct nameset *s, const char *text);

/* Take over what @other contains.  Return: 0 or -ENOMEM. */
int nameset_merge(struct nameset *s, const struct nameset *other);

/* @name is lower case without a trailing dot. */
bool nameset_contains(const struct nameset *s, const char *name);
size_t nameset_count(const struct nameset *s);

#endif
