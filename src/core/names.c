/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  One entry for a client's ip and an address it was told: the name it asked
 * for last.  By client, because many names share an address and the client that opens a flow
 * there is the one that asked; and because clients choose their name servers, none may decide
 * what another's flows are called.
 *
 * Of servers that clients have chosen, only answers to their questions count.  A question is kept
 * as its id and a digest with a secret key, so it takes little room however long its name is.
 *
 * The oldest entry makes room at the limit.  One lock, held for a look-up: once per flow and per
 * answer.  While nothing has been learnt, it is not taken.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/list.h"
#include "base/map.h"
#include "base/text.h"
#include "codec/dns.h"
#include "core/names.h"

#define KEPT_MIN_S 60 /* clients use what they were told for a while longer */
#define KEPT_MAX_S 86400

struct entry {
	struct map_node node;
	struct list link;
	struct addr client, target;
	uint64_t until_ms;
	char *name;
};

struct names {
	pthread_mutex_t lock;
	struct map map;
	struct list oldest;
	size_t cap;
	atomic_size_t n;
};

struct names *names_new(size_t cap)
{
	struct names *n = NEW0(struct names);
	uint64_t seed = 0;

	if (!n)
		return NULL;
	(void)!getrandom(&seed, sizeof(seed), 0);
	map_init(&n->map, seed);
	list_init(&n->oldest);
	pthread_mutex_init(&n->lock, NULL);
	n->cap = cap;
	return n;
}

static void entry_free(struct names *n, struct entry *e)
{
	map_del(&n->map, &e->node);
	list_del(&e->link);
	free(e->name);
	free(e);
	n->n--;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	while (!list_empty(&n->oldest))
		entry_free(n, list_entry(n->oldest.next, struct entry, link));
	map_done(&n->map);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

static struct addr ip_of(const struct addr *a)
{
	struct addr ip = *a;

	ip.port = 0;
	ip.scope_id = 0; /* which answers do not have */
	return ip;
}

static uint64_t hash_of(const struct names *n, const struct addr *client, const struct addr *target)
{
	return map_hash_addr(&n->map, target, map_hash_addr(&n->map, client, 0));
}

static struct entry *entry_find(const struct names *n, const struct addr *client,
				const struct addr *target)
{
	struct map_node *node = map_first(&n->map, hash_of(n, client, target));

	for (; node; node = map_next(node)) {
		struct entry *e = map_entry(node, struct entry, node);

		if (addr_eq(&e->client, client) && addr_eq(&e->target, target))
			return e;
	}
	return NULL;
}

static struct entry *entry_new(struct names *n, const struct addr *client,
			       const struct addr *target)
{
	struct entry *e;

	if (n->n >= n->cap)
		entry_free(n, list_entry(n->oldest.next, struct entry, link));
	e = NEW0(struct entry);
	if (!e || map_add(&n->map, &e->node, hash_of(n, client, target)) < 0) {
		free(e);
		return NULL;
	}
	e->client = *client;
	e->target = *target;
	list_add_tail(&n->oldest, &e->link);
	n->n++;
	return e;
}

static void learn_one(struct names *n, const struct addr *client, const struct addr *target,
		      const char *name, uint64_t until_ms)
{
	struct entry *e = entry_find(n, client, target);
	char *copy = text_dup(span_str(name));

	if (copy && !e)
		e = entry_new(n, client, target);
	if (!copy || !e) {
		free(copy);
		return;
	}
	free(e->name);
	e->name = copy;
	e->until_ms = until_ms;
	list_del(&e->link);
	list_add_tail(&n->oldest, &e->link);
}

const struct addr *names_client(const struct addr *client, bool inside)
{
	static const struct addr command = { .family = 4 };

	return inside ? &command : client;
}

bool names_learns(const struct names *n)
{
	return n && n->cap;
}

static void learn(struct names *n, const struct addr *client, struct span answer,
		  const struct dns_message *m, uint64_t now_ms)
{
	struct addr found[DNS_ADDRESSES_MAX], ip = ip_of(client);
	size_t n_found;
	uint32_t ttl_s;

	if (!m->response || m->rcode)
		return;
	n_found = dns_addresses(answer, m, found, &ttl_s);
	if (ttl_s < KEPT_MIN_S)
		ttl_s = KEPT_MIN_S;
	if (ttl_s > KEPT_MAX_S)
		ttl_s = KEPT_MAX_S;
	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < n_found; i++)
		learn_one(n, &ip, &found[i], m->name, now_ms + (uint64_t)ttl_s * 1000);
	pthread_mutex_unlock(&n->lock);
}

void names_learn(struct names *n, const struct addr *client, struct span answer, uint64_t now_ms)
{
	struct dns_message m;

	if (names_learns(n) && dns_parse(answer, &m) == CODEC_DONE)
		learn(n, client, answer, &m, now_ms);
}

/* Is it about one name?  (Updates and the like are not.) */
static bool is_about_a_name(const struct dns_message *m)
{
	return m->opcode == DNS_OPCODE_QUERY && m->n_questions == 1;
}

static uint64_t digest_of(const struct names *n, const struct dns_message *m)
{
	return map_hash_text(&n->map, m->name, (uint64_t)m->class << 16 | m->type);
}

void names_asked(const struct names *n, struct questions *q, struct span query)
{
	struct dns_message m;

	if (names_learns(n) && dns_parse(query, &m) == CODEC_DONE && !m.response &&
	    is_about_a_name(&m))
		questions_add(q, m.id, digest_of(n, &m));
}

void names_answered(struct names *n, struct questions *q, const struct addr *client,
		    struct span answer, uint64_t now_ms)
{
	struct dns_message m;

	if (!q->n || answer.len < DNS_HEADER_BYTES || !questions_have(q, dns_id(answer)))
		return;
	if (dns_parse(answer, &m) == CODEC_DONE && m.response && is_about_a_name(&m) &&
	    questions_take(q, m.id, digest_of(n, &m)))
		learn(n, client, answer, &m, now_ms);
}

char *names_find(struct names *n, const struct addr *client, const struct addr *target,
		 uint64_t now_ms)
{
	struct addr from, to;
	struct entry *e;
	char *name = NULL;

	if (!n || !n->n)
		return NULL;
	from = ip_of(client);
	to = ip_of(target);
	pthread_mutex_lock(&n->lock);
	e = entry_find(n, &from, &to);
	if (e && now_ms < e->until_ms)
		name = text_dup(span_str(e->name));
	pthread_mutex_unlock(&n->lock);
	return name;
}
