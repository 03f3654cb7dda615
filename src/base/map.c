/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Chains in a power-of-two array of slots, between an eighth full and
 * full; the hash is kept in the node, so that growing does not ask for keys.  A table that
 * cannot grow for want of memory goes on with longer chains; only the first slots are needed.
 *
 * The hash multiplies 64 by 64 bits and folds the 128-bit product, twice, keyed by a secret
 * seed.  That is no cryptographic hash, but who does not know the seed cannot fill one chain.
 */
#include <errno.h>
#include <string.h>

#include "base/map.h"

#define MIN_SLOTS 16

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 p = (unsigned __int128)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

void map_init(struct map *m, uint64_t seed)
{
	*m = (struct map){ .seed = seed };
}

void map_done(struct map *m)
{
	free(m->slots);
	m->slots = NULL;
	m->n_slots = m->n = m->n_empty = 0;
}

uint64_t map_hash_addr(const struct map *m, const struct addr *a, uint64_t extra)
{
	const uint64_t k0 = 0x9e3779b97f4a7c15, k1 = 0xd6e8feb86659fd93, k2 = 0xa0761d6478bd642f;
	uint64_t lo, hi, rest = (uint64_t)a->scope_id << 32 | (uint64_t)a->family << 16 | a->port;

	memcpy(&lo, a->ip, 8);
	memcpy(&hi, a->ip + 8, 8);
	lo = mix(lo ^ m->seed, hi ^ k0);
	rest = mix(rest ^ k1, extra ^ m->seed ^ k2);
	return mix(lo ^ rest ^ k0, m->seed ^ k1 ^ (lo << 1));
}

uint64_t map_hash_text(const struct map *m, const char *text, uint64_t extra)
{
	const uint64_t k0 = 0x9e3779b97f4a7c15, k1 = 0xd6e8feb86659fd93;
	size_t len = strlen(text);
	uint64_t h = mix(m->seed ^ k0, extra ^ len ^ k1), word;

	for (; len; text += sizeof(word), len -= sizeof(word)) {
		word = 0;
		if (len <= sizeof(word)) {
			memcpy(&word, text, len);
			return mix(h ^ word, m->seed ^ k1);
		}
		memcpy(&word, text, sizeof(word));
		h = mix(h ^ word, m->seed ^ k0 ^ (h << 1));
	}
	return h;
}

static int map_resize(struct map *m, size_t n_slots)
{
	struct map_node **slots = calloc(n_slots, sizeof(struct map_node *));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_slots; i++) {
		for (struct map_node *n = m->slots[i], *next; n; n = next) {
			struct map_node **to = &slots[n->hash & (n_slots - 1)];

			next = n->next;
			n->next = *to;
			*to = n;
		}
	}
	free(m->slots);
	m->slots = slots;
	m->n_slots = n_slots;
	m->n_empty = 0;
	return 0;
}

int map_add(struct map *m, struct map_node *n, uint64_t hash)
{
	struct map_node **slot;

	if (m->n >= m->n_slots) {
		int r = map_resize(m, m->n_slots ? 2 * m->n_slots : MIN_SLOTS);

		if (r < 0 && !m->n_slots)
			return r;
	}
	slot = &m->slots[hash & (m->n_slots - 1)];
	n->hash = hash;
	n->next = *slot;
	*slot = n;
	m->n++;
	if (m->n_empty > (hash & (m->n_slots - 1)))
		m->n_empty = hash & (m->n_slots - 1);
	return 0;
}

void map_del(struct map *m, struct map_node *n)
{
	struct map_node **at = &m->slots[n->hash & (m->n_slots - 1)];

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	n->next = NULL;
	if (!--m->n)
		map_done(m);
	else if (m->n_slots > MIN_SLOTS && m->n < m->n_slots / 8)
		(void)map_resize(m, m->n_slots / 2); /* no memory: it stays large */
}

struct map_node *map_first(const struct map *m, uint64_t hash)
{
	struct map_node *n = m->n_slots ? m->slots[hash & (m->n_slots - 1)] : NULL;

	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct map_node *map_next(const struct map_node *n)
{
	uint64_t hash = n->hash;
	struct map_node *next = n->next;

	while (next && next->hash != hash)
		next = next->next;
	return next;
}

struct map_node *map_any(struct map *m)
{
	if (!m->n)
		return NULL;
	while (!m->slots[m->n_empty])
		m->n_empty++;
	return m->slots[m->n_empty];
}
