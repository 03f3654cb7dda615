/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/datagram_table.h"

static_assert(SOURCE_KEEP + 1 == DATAGRAM_SOURCES, "an upstream socket for each source");
static_assert(sizeof(struct datagram_session) + sizeof(struct datagram_entry) <= 768,
	      "with the slots of the tables and malloc's own, less than 1 KiB per session");

/* Destinations of sessions that have more than two, for each session that there may be. */
#define ENTRIES_PER_SLOT 4

struct datagram_client {
	struct map_node node;
	struct addr ip;
	uint32_t n_sessions, n_entries;
	struct list by_use[2]; /* by session->answered */
};

void datagram_table_init(struct datagram_table *t, const struct datagram_limits *limits)
{
	uint64_t seed[3];

	arc4random_buf(seed, sizeof(seed));
	map_init(&t->clients, seed[0]);
	map_init(&t->sessions, seed[1]);
	map_init(&t->entries, seed[2]);
	for (int i = 0; i < 2; i++)
		list_init(&t->by_use[i]);
	pool_init(&t->session_pool, sizeof(struct datagram_session));
	pool_init(&t->entry_pool, sizeof(struct datagram_entry));
	t->limits = *limits;
}

void datagram_table_done(struct datagram_table *t)
{
	map_done(&t->clients);
	map_done(&t->sessions);
	map_done(&t->entries);
	pool_done(&t->session_pool);
	pool_done(&t->entry_pool);
}

static struct datagram_client *client_find(const struct datagram_table *t, const struct addr *ip,
					   uint64_t hash)
{
	for (struct map_node *n = map_first(&t->clients, hash); n; n = map_next(n)) {
		struct datagram_client *c = map_entry(n, struct datagram_client, node);

		if (addr_eq(&c->ip, ip))
			return c;
	}
	return NULL;
}

/* The count of an ip, made at its first session. */
static int client_get(struct datagram_table *t, const struct addr *a, struct datagram_client **ret)
{
	struct addr ip = *a;
	struct datagram_client *c;
	uint64_t hash;
	int r;

	ip.port = 0;
	hash = map_hash_addr(&t->clients, &ip, 0);
	c = client_find(t, &ip, hash);
	if (c && c->n_sessions >= t->limits.sessions_per_client)
		return -ENOSPC;
	if (c) {
		*ret = c;
		return 0;
	}
	c = NEW0(struct datagram_client);
	if (!c)
		return -ENOMEM;
	c->ip = ip;
	for (int i = 0; i < 2; i++)
		list_init(&c->by_use[i]);
	r = map_add(&t->clients, &c->node, hash);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* Forget the count once it is zero. */
static void client_put(struct datagram_table *t, struct datagram_client *c)
{
	if (c->n_sessions)
		return;
	map_del(&t->clients, &c->node);
	free(c);
}

static uint64_t session_hash(const struct datagram_table *t, const struct addr *client,
			     const struct udp_outer *outer)
{
	return map_hash_addr(&t->sessions, client,
			     outer ? map_hash_addr(&t->sessions, &outer->from, 0) : 0);
}

static bool comes_in(const struct datagram_session *s, const struct udp_outer *outer)
{
	return outer ? addr_eq(&s->outer_from, &outer->from) && addr_eq(&s->outer_to, &outer->to)
		     : !s->outer_from.family;
}

struct datagram_session *datagram_session_find(const struct datagram_table *t,
					       const struct addr *client,
					       const struct udp_outer *outer)
{
	uint64_t hash = session_hash(t, client, outer);

	for (struct map_node *n = map_first(&t->sessions, hash); n; n = map_next(n)) {
		struct datagram_session *s = map_entry(n, struct datagram_session, node);

		if (addr_eq(&s->client, client) && comes_in(s, outer))
			return s;
	}
	return NULL;
}

int datagram_session_new(struct datagram_table *t, const struct addr *client,
			 const struct udp_outer *outer, struct datagram_session **ret)
{
	struct datagram_client *c;
	struct datagram_session *s;
	int r;

	if (t->sessions.n >= t->limits.sessions)
		return -ENOSPC;
	r = client_get(t, client, &c);
	if (r < 0)
		return r;
	s = pool_get(&t->session_pool);
	r = s ? map_add(&t->sessions, &s->node, session_hash(t, client, outer)) : -ENOMEM;
	if (r < 0) {
		if (s)
			pool_put(&t->session_pool, s);
		client_put(t, c);
		return r;
	}
	c->n_sessions++;
	s->client_ip = c;
	s->client = *client;
	if (outer) {
		s->outer_from = outer->from;
		s->outer_to = outer->to;
	}
	list_add_tail(&t->by_use[false], &s->by_use);
	list_add_tail(&c->by_use[false], &s->by_use_ip);
	for (int i = 0; i < 2; i++)
		list_init(&s->entries[i]);
	for (int i = 0; i < DATAGRAM_UPSTREAMS; i++) {
		s->upstream[i].session = s;
		s->upstream[i].fd = -1;
	}
	*ret = s;
	return 0;
}

void datagram_session_free(struct datagram_table *t, struct datagram_session *s)
{
	map_del(&t->sessions, &s->node);
	list_del(&s->by_use);
	list_del(&s->by_use_ip);
	s->client_ip->n_sessions--;
	client_put(t, s->client_ip);
	pool_put(&t->session_pool, s);
}

static void session_used(struct datagram_table *t, struct datagram_session *s, uint64_t now_ms,
			 bool answered)
{
	if (s->used_ms == now_ms && s->answered == answered)
		return;
	s->used_ms = now_ms;
	s->answered = answered;
	list_del(&s->by_use);
	list_add_tail(&t->by_use[answered], &s->by_use);
	list_del(&s->by_use_ip);
	list_add_tail(&s->client_ip->by_use[answered], &s->by_use_ip);
}

void datagram_entry_used(struct datagram_table *t, struct datagram_entry *e, uint64_t now_ms,
			 bool answered)
{
	session_used(t, e->session, now_ms, answered);
	if (e->last_ms == now_ms && e->answered == answered)
		return;
	e->last_ms = now_ms;
	e->answered = answered;
	list_del(&e->link);
	list_add_tail(&e->session->entries[answered], &e->link);
}

/* Has @s been unused long enough to make room for others, and longer than @best? */
static bool may_go(const struct datagram_session *s, const struct datagram_session *best,
		   uint64_t now_ms, const struct datagram_times *idle)
{
	uint32_t least_ms = s->answered ? idle->evict_answered_ms : idle->evict_ms;

	return now_ms - s->used_ms >= least_ms && (!best || s->used_ms < best->used_ms);
}

struct datagram_session *datagram_session_victim(const struct datagram_table *t,
						 const struct addr *client, uint64_t now_ms,
						 const struct datagram_times *idle)
{
	struct datagram_session *best = NULL, *s;
	struct addr ip = *client;
	struct datagram_client *c;
	bool of_ip;

	ip.port = 0;
	c = client_find(t, &ip, map_hash_addr(&t->clients, &ip, 0));
	of_ip = c && c->n_sessions >= t->limits.sessions_per_client;
	if (!of_ip && t->sessions.n < t->limits.sessions)
		return NULL;
	for (int i = 0; i < 2; i++) {
		if (list_empty(of_ip ? &c->by_use[i] : &t->by_use[i]))
			continue;
		s = of_ip ? list_entry(c->by_use[i].next, struct datagram_session, by_use_ip)
			  : list_entry(t->by_use[i].next, struct datagram_session, by_use);
		if (may_go(s, best, now_ms, idle))
			best = s;
	}
	return best;
}

static uint64_t entry_hash(const struct datagram_table *t, const struct datagram_session *s,
			   const struct addr *target)
{
	return map_hash_addr(&t->entries, target, (uintptr_t)s);
}

struct datagram_entry *datagram_entry_find(const struct datagram_table *t,
					   const struct datagram_session *s,
					   const struct addr *target)
{
	uint64_t hash = entry_hash(t, s, target);

	for (struct map_node *n = map_first(&t->entries, hash); n; n = map_next(n)) {
		struct datagram_entry *e = map_entry(n, struct datagram_entry, node);

		if (e->session == s && addr_eq(&e->report.target, target))
			return e;
	}
	return NULL;
}

struct datagram_entry *datagram_entry_find_ip(const struct datagram_session *s,
					      const struct addr *target)
{
	struct list *l, *tmp;

	for (int i = 0; i < 2; i++)
		list_for_each(l, tmp, &s->entries[i]) {
			struct datagram_entry *e = list_entry(l, struct datagram_entry, link);

			if (e->upstream && addr_ip_eq(&e->report.target, target))
				return e;
		}
	return NULL;
}

/* Has @s no room for one more, by its own limit or by that of its ip or of all?  Two are always
 * there: one that lives, so that the other can make room. */
static bool is_full(const struct datagram_table *t, const struct datagram_session *s)
{
	const struct datagram_limits *l = &t->limits;
	uint64_t of_ip = (uint64_t)l->sessions_per_client * ENTRIES_PER_SLOT;
	uint64_t of_all = (uint64_t)l->sessions * ENTRIES_PER_SLOT;

	return s->n_entries >= l->entries_per_session ||
	       (s->n_entries >= 2 && (s->client_ip->n_entries >= of_ip + l->entries_per_session ||
				      t->entries.n >= of_all + l->entries_per_session));
}

struct datagram_entry *datagram_entry_victim(const struct datagram_table *t,
					     const struct datagram_session *s, uint64_t now_ms,
					     const struct datagram_times *idle)
{
	struct datagram_entry *best = NULL;

	if (s->n_entries < 2 || !is_full(t, s))
		return NULL; /* a session lives while it has one */
	for (int i = 0; i < 2; i++) {
		uint32_t least_ms = i ? idle->evict_answered_ms : idle->evict_ms;
		struct datagram_entry *e =
			list_entry(s->entries[i].next, struct datagram_entry, link);

		if (!list_empty(&s->entries[i]) && now_ms - e->last_ms >= least_ms &&
		    (!best || e->last_ms < best->last_ms))
			best = e;
	}
	return best;
}

int datagram_entry_new(struct datagram_table *t, struct datagram_session *s,
		       const struct addr *target, struct datagram_entry **ret)
{
	struct datagram_entry *e;
	int r;

	if (is_full(t, s))
		return -ENOSPC;
	e = pool_get(&t->entry_pool);
	r = e ? map_add(&t->entries, &e->node, entry_hash(t, s, target)) : -ENOMEM;
	if (r < 0) {
		if (e)
			pool_put(&t->entry_pool, e);
		return r;
	}
	e->session = s;
	e->report.client = s->client;
	e->report.target = *target;
	list_add_tail(&s->entries[false], &e->link);
	s->n_entries++;
	s->client_ip->n_entries++;
	*ret = e;
	return 0;
}

void datagram_entry_free(struct datagram_table *t, struct datagram_entry *e)
{
	map_del(&t->entries, &e->node);
	list_del(&e->link);
	e->session->n_entries--;
	e->session->client_ip->n_entries--;
	facts_done(&(struct facts){ .proxy = e->report.proxy });
	free(e->report.host);
	free(e->report.learnt_name);
	questions_done(&e->questions);
	pool_put(&t->entry_pool, e);
}
