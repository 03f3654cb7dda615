/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A SYN that waits for its server is known by the client's ip:port and the
 * target.  Any worker may see a SYN (they share the queue) or accept a client (they share the
 * listening sockets), while its flow belongs to one of them: the table is what they meet at, one
 * lock for a look-up.
 *
 *   held --release--> released --claim--> joined --its flow ends--> forgotten
 *
 * A joined one stays to recognise duplicates of its SYN, which would otherwise be taken for a new
 * client and dialled for.
 *
 * A client that hears nothing sends its SYN again, or has given up and knocks anew from the same
 * port: the newest packet is the one that is held, for it is the one that the client remembers.
 * One that is accepted although its SYN is held (a packet that found the queue full and may
 * pass) is claimed like any other.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/knock.h"

void knock_table_init(struct knock_table *t, uint64_t seed)
{
	pthread_mutex_init(&t->lock, NULL);
	map_init(&t->map, seed);
	atomic_init(&t->n_released, 0);
}

void knock_table_done(struct knock_table *t)
{
	struct map_node *n;

	while ((n = map_any(&t->map))) {
		map_del(&t->map, n);
		free(map_entry(n, struct knock, node));
	}
	map_done(&t->map);
	pthread_mutex_destroy(&t->lock);
}

static uint64_t hash_of(const struct knock_table *t, const struct addr *client,
			const struct addr *target)
{
	return map_hash_addr(&t->map, client, map_hash_addr(&t->map, target, 0));
}

static struct knock *find(const struct knock_table *t, const struct addr *client,
			  const struct addr *target, uint64_t hash)
{
	for (struct map_node *n = map_first(&t->map, hash); n; n = map_next(n)) {
		struct knock *k = map_entry(n, struct knock, node);

		if (addr_eq(&k->client, client) && addr_eq(&k->target, target))
			return k;
	}
	return NULL;
}

static void unlist(struct knock_table *t, struct knock *k)
{
	if (!k->listed)
		return;
	map_del(&t->map, &k->node);
	k->listed = false;
	if (!k->joined && k->released)
		atomic_fetch_sub(&t->n_released, 1);
}

static enum knock_result add(struct knock_table *t, const struct knock *model, uint64_t hash,
			     struct knock **ret)
{
	struct knock *k = malloc(sizeof(*k));

	if (!k)
		return KNOCK_NO_MEMORY;
	*k = *model;
	k->client = model->syn.from;
	k->target = model->syn.to;
	k->flow = NULL;
	k->listed = true;
	if (map_add(&t->map, &k->node, hash) < 0) {
		free(k);
		return KNOCK_NO_MEMORY;
	}
	*ret = k;
	return KNOCK_NEW;
}

static void replace(struct knock *k, const struct knock *newer)
{
	k->packet = newer->packet;
	k->syn = newer->syn;
	memcpy(k->head, newer->head, sizeof(k->head));
}

enum knock_result knock_note(struct knock_table *t, const struct knock *model,
			     struct knock **ret, uint32_t *ret_older)
{
	uint64_t hash = hash_of(t, &model->syn.from, &model->syn.to);
	enum knock_result r = KNOCK_RELEASED;
	struct knock *k;

	pthread_mutex_lock(&t->lock);
	k = find(t, &model->syn.from, &model->syn.to, hash);
	if (k && k->joined && k->syn.seq != model->syn.seq) { /* its port is used again */
		unlist(t, k);
		k = NULL;
	}
	if (!k) {
		r = add(t, model, hash, ret);
	} else if (!k->joined && !k->released) {
		*ret_older = k->packet;
		replace(k, model);
		r = KNOCK_AGAIN;
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

void knock_begin(struct knock_table *t, struct knock *k, struct flow *f)
{
	pthread_mutex_lock(&t->lock);
	k->flow = f;
	pthread_mutex_unlock(&t->lock);
}

bool knock_release(struct knock_table *t, struct knock *k, uint32_t *ret_packet)
{
	bool release;

	pthread_mutex_lock(&t->lock);
	release = !k->joined;
	if (release) {
		k->released = true;
		*ret_packet = k->packet;
		atomic_fetch_add(&t->n_released, 1);
	}
	pthread_mutex_unlock(&t->lock);
	return release;
}

struct knock *knock_claim(struct knock_table *t, const struct addr *client,
			  const struct addr *target)
{
	uint64_t hash = hash_of(t, client, target);
	struct knock *k;

	pthread_mutex_lock(&t->lock);
	k = find(t, client, target, hash);
	if (k && (!k->flow || k->joined))
		k = NULL;
	if (k && k->released)
		atomic_fetch_sub(&t->n_released, 1);
	if (k)
		k->joined = true;
	pthread_mutex_unlock(&t->lock);
	return k;
}

bool knock_forget(struct knock_table *t, struct knock *k)
{
	bool carried;

	pthread_mutex_lock(&t->lock);
	unlist(t, k);
	carried = k->joined && !k->arrived;
	pthread_mutex_unlock(&t->lock);
	return !carried;
}
