/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NETSET_H
#define BASE_NETSET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

/* A set of IPv4 and IPv6 networks: built once, then immutable; a look-up is a binary search. */
struct netset;

struct netset *netset_new(void); /* NULL: out of memory */
void netset_free(struct netset *s);

/**
 * netset_add() - "10.0.0.0/8", "192.0.2.7", "fd00::/8", "10.0.0.1-10.0.0.9"
 *
 * Host bits behind the prefix must be zero.
 *
 * Return: 0, -EINVAL (not a network), -ERANGE (host bits set), -ENOMEM.
 */
int netset_add(struct netset *s, const char *text);

/* Take over what @other contains.  Return: 0 or -ENOMEM. */
int netset_merge(struct netset *s, const struct netset *other);

/* Sort and merge; to be called once after the last netset_add() and before any look-up. */
void netset_seal(struct netset *s);

bool netset_contains(const struct netset *s, const struct addr *a);

/**
 * netset_range() - the @i-th range of one family after sealing, in ascending order
 * @family:	4 or 6
 *
 * Return: false when there are no more.
 */
bool netset_range(const struct netset *s, uint8_t family, size_t i, struct addr *ret_first,
		  struct addr *ret_last);
size_t netset_count(const struct netset *s); /* disjoint ranges after sealing */

#endif
