/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mem.h"

/**
 * struct map_node - link of an intrusive hash table, embedded in its owner
 */
struct map_node {
	struct map_node *next;
	uint64_t hash;
};

/**
 * struct map - hash table of nodes that others own
 * @slots:	NULL while the table is empty
 * @n_slots:	0 or a power of two
 * @n:		nodes
 * @n_empty:	this many slots from the first are known to be empty
 * @seed:	secret: who chooses the keys must not be able to choose the collisions
 *
 * Grows and shrinks by itself; an empty table holds no memory.  Keys are compared by the
 * caller: map_first() and map_next() walk the nodes of equal hash.
 */
struct map {
	struct map_node **slots;
	size_t n_slots;
	size_t n;
	size_t n_empty;
	uint64_t seed;
};

void map_init(struct map *m, uint64_t seed);
void map_done(struct map *m); /* the nodes are the caller's business */

/**
 * map_hash_addr() - hash of an address
 * @extra:	further key material, 0 if there is none
 *
 * ip, scope and port count; for a key of the ip alone, set the port to 0 first.
 */
uint64_t map_hash_addr(const struct map *m, const struct addr *a, uint64_t extra);

uint64_t map_hash_text(const struct map *m, const char *text, uint64_t extra);

/* Return: 0, or -ENOMEM. */
int map_add(struct map *m, struct map_node *n, uint64_t hash);
void map_del(struct map *m, struct map_node *n); /* @n is in @m */

struct map_node *map_first(const struct map *m, uint64_t hash);
struct map_node *map_next(const struct map_node *n); /* the next of the same hash, or NULL */

/* Any node, or NULL when the table is empty: for taking them all out. */
struct map_node *map_any(struct map *m);

#define map_entry(n, type, member) container_of(n, type, member)

#endif
