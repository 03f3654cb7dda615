/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Rules that redirect what this host sends must let limpid's own
 * connections pass, by mark or by user.  Where they do not, limpid is its own client, and each
 * connection makes another one until descriptors run out.  Neither end can see that from its
 * addresses alone, but both together can: what was dialled from A to B and what was accepted
 * from A to B (before translation) is one connection, because a host has only one with these
 * four numbers.
 *
 * The address that a SYN is sent from is known only after connect(2), and meanwhile another
 * worker may have accepted it, dialled again and found that loop instead: so connections would
 * go round a few times before the first is known.  Therefore who dials holds a lock, shared
 * with others who dial, until the connection is noted, and who has accepted one that may be
 * ours waits until all such dials are over.  It costs routed connections nothing but the shared
 * lock.  Should a dial not be announced, both sides look, and whoever is second sees the other.
 *
 * An end is taken out before its socket is closed: afterwards its four numbers may be somebody
 * else's.
 *
 * A key of four numbers and not of A alone: the kernel lets two sockets share a port towards
 * different servers, and a server may be asked from a client's address.
 */
#include <errno.h>

#include "base/mem.h"
#include "core/own_ends.h"

void own_ends_init(struct own_ends *t)
{
	pthread_rwlockattr_t attr;
	uint64_t seed;

	arc4random_buf(&seed, sizeof(seed));
	/* those who dial follow each other closely: who waits for a gap must not starve */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&t->dialling, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&t->lock, NULL);
	map_init(&t->map, seed);
	atomic_store(&t->told, false);
}

void own_ends_done(struct own_ends *t)
{
	map_done(&t->map);
	pthread_mutex_destroy(&t->lock);
	pthread_rwlock_destroy(&t->dialling);
}

void own_ends_dial_begin(struct own_ends *t)
{
	pthread_rwlock_rdlock(&t->dialling);
}

void own_ends_dial_end(struct own_ends *t)
{
	pthread_rwlock_unlock(&t->dialling);
}

static uint64_t hash_of(const struct own_ends *t, const struct own_end *e)
{
	return map_hash_addr(&t->map, &e->from, map_hash_addr(&t->map, &e->to, 0));
}

static bool same_addresses(const struct own_end *a, const struct own_end *b)
{
	return addr_eq(&a->from, &b->from) && addr_eq(&a->to, &b->to);
}

static bool is_other_side(const struct own_end *a, const struct own_end *b)
{
	return (a->side == OWN_CAME) != (b->side == OWN_CAME) && same_addresses(a, b);
}

static void wait_for_dials(struct own_ends *t)
{
	pthread_rwlock_wrlock(&t->dialling);
	pthread_rwlock_unlock(&t->dialling);
}

static void end_init(struct own_end *e, enum own_side side, const struct addr *from,
		     const struct addr *to)
{
	*e = (struct own_end){ .from = *from, .to = *to, .side = side };
	e->from.scope_id = e->to.scope_id = 0; /* not in packets */
}

/* Under the lock. */
static void mark_both(struct own_ends *t, struct own_end *e)
{
	for (struct map_node *n = map_first(&t->map, e->node.hash); n; n = map_next(n)) {
		struct own_end *other = map_entry(n, struct own_end, node);

		if (is_other_side(e, other))
			e->looped = other->looped = true;
	}
}

int own_ends_add(struct own_ends *t, enum own_side side, const struct addr *from,
		 const struct addr *to, struct own_end **ret)
{
	struct own_end *e = malloc(sizeof(*e)); /* for each dial: calloc() is slower */
	bool looped;
	int r;

	if (!e)
		return -ENOMEM;
	end_init(e, side, from, to);
	if (side == OWN_CAME)
		wait_for_dials(t);
	pthread_mutex_lock(&t->lock);
	r = map_add(&t->map, &e->node, hash_of(t, e));
	if (!r)
		mark_both(t, e);
	looped = e->looped;
	pthread_mutex_unlock(&t->lock);
	if (r < 0) {
		free(e);
		return r;
	}
	*ret = e;
	return looped;
}

bool own_ends_made(struct own_ends *t, const struct addr *from, const struct addr *to)
{
	struct own_end key;
	bool found = false;

	end_init(&key, OWN_MADE, from, to);
	wait_for_dials(t);
	pthread_mutex_lock(&t->lock);
	for (struct map_node *n = map_first(&t->map, hash_of(t, &key)); n; n = map_next(n)) {
		const struct own_end *e = map_entry(n, struct own_end, node);

		found |= e->side == OWN_MADE && same_addresses(e, &key);
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

bool own_ends_del(struct own_ends *t, struct own_end *e)
{
	bool looped;

	if (!e)
		return false;
	pthread_mutex_lock(&t->lock);
	map_del(&t->map, &e->node);
	looped = e->looped;
	pthread_mutex_unlock(&t->lock);
	free(e);
	return looped;
}
