/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  One resolver for each worker, made when the first name is asked for.  Its
 * entries are questions and answers at once: an entry is pending while name servers are asked,
 * and whoever wants the same waits on it; then it is kept until its time is over or its room is
 * needed (limits.names, the one unused for longest goes first).
 *
 * An answer only marks its entry; those who wait are told when no question is being handled
 * (channel.c says why), and may then ask, cancel and end as they like.
 */
#include <errno.h>
#include <string.h>

#include "base/hostname.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/worker.h"
#include "dial/channel.h"
#include "dial/hosts.h"
#include "dial/resolve.h"

#define HOSTS "/etc/hosts"

/* How long answers are kept: what DNS says, at most; what it does not say. */
#define KEEP_MAX_S 3600
#define KEEP_LOCAL_MS 5000
#define KEEP_NONE_MS 5000
#define KEEP_FAILED_MS 1000

/**
 * struct entry - a name in one family
 * @link:	in resolver.answered or, @kept, in .kept; alone while @pending
 */
struct entry {
	struct map_node node;
	struct list link;
	struct list waiting;
	struct resolver *resolver;
	struct question question;
	struct addr *addrs;
	unsigned int n;
	int error;
	uint64_t expires_ms;
	bool pending, kept;
	char name[];
};

/**
 * struct resolver - one worker's names
 * @answered:	entries whose waiters have to be told
 * @kept:	the others that are answered, the one unused for longest first
 */
struct resolver {
	struct worker *worker;
	struct channels channels;
	struct map entries;
	struct list answered, kept;
	unsigned int n_pending, n_kept;
};

static uint64_t now_ms(const struct resolver *r)
{
	return loop_now_ms(&r->worker->loop);
}

static void entry_free(struct entry *e)
{
	map_del(&e->resolver->entries, &e->node);
	list_del(&e->link);
	free(e->addrs);
	free(e);
}

static void entry_forget(struct entry *e)
{
	e->resolver->n_kept--;
	entry_free(e);
}

static struct entry *entry_new(struct resolver *r, const char *name, uint8_t family)
{
	size_t len = strlen(name) + 1;
	struct entry *e = calloc(1, sizeof(*e) + len);

	if (!e)
		return NULL;
	e->resolver = r;
	e->question.family = family;
	list_init(&e->link);
	list_init(&e->waiting);
	memcpy(e->name, name, len);
	if (map_add(&r->entries, &e->node, map_hash_text(&r->entries, name, family)) < 0) {
		free(e);
		return NULL;
	}
	return e;
}

static struct entry *entry_find(struct resolver *r, const char *name, uint8_t family)
{
	struct map_node *n = map_first(&r->entries, map_hash_text(&r->entries, name, family));

	for (; n; n = map_next(n)) {
		struct entry *e = map_entry(n, struct entry, node);

		if (e->question.family == family && !strcmp(e->name, name))
			return e;
	}
	return NULL;
}

static void entry_set(struct entry *e, int error, const struct addr *addrs, unsigned int n,
		      uint64_t keep_ms)
{
	e->pending = false;
	e->error = n ? 0 : error;
	e->expires_ms = now_ms(e->resolver) + keep_ms;
	if (!n)
		return;
	e->addrs = malloc(n * sizeof(*addrs));
	if (!e->addrs) {
		e->error = -ENOMEM;
		return;
	}
	memcpy(e->addrs, addrs, n * sizeof(*addrs));
	e->n = n;
}

/* Nobody waits for it any more: keep it for as long as it may be used. */
static void entry_keep(struct entry *e)
{
	struct resolver *r = e->resolver;

	list_del(&e->link);
	list_add_tail(&r->kept, &e->link);
	e->kept = true;
	r->n_kept++;
	while (r->n_kept > r->worker->realm->snapshot->limits.names)
		entry_forget(list_entry(r->kept.next, struct entry, link));
}

static struct answer entry_answer(const struct entry *e)
{
	return (struct answer){ .error = e->error, .addrs = e->addrs, .n = e->n };
}

/* Tell those who wait.  They may ask and cancel as they like. */
static void tell(struct channels *c)
{
	struct resolver *r = container_of(c, struct resolver, channels);

	while (!list_empty(&r->answered)) {
		struct entry *e = list_entry(r->answered.next, struct entry, link);

		while (!list_empty(&e->waiting)) {
			struct lookup *l = list_entry(e->waiting.next, struct lookup, link);
			struct answer answer = entry_answer(e);

			list_del(&l->link);
			l->done(l, &answer);
		}
		entry_keep(e);
	}
}

/* 0.0.0.0 and :: would reach this host; who says so means that there is no such server, as lists
 * of names to be blocked do.  @ret may be @list. */
static unsigned int without_unspecified(struct addr *ret, const struct addr *list, unsigned int n)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < n; i++)
		if (!addr_is_unspecified(&list[i]))
			ret[kept++] = list[i];
	return kept;
}

static void on_answer(struct question *q, int error, const struct addr *addrs, unsigned int n,
		      uint32_t ttl_s)
{
	struct entry *e = container_of(q, struct entry, question);
	struct addr list[ADDRESSES_MAX];
	uint64_t keep_ms = (uint64_t)(ttl_s < KEEP_MAX_S ? ttl_s : KEEP_MAX_S) * 1000;

	n = without_unspecified(list, addrs, n);
	if (!n && !error)
		error = -ENODATA;
	if (!n)
		keep_ms = error == -ENOENT || error == -ENODATA ? KEEP_NONE_MS : KEEP_FAILED_MS;
	entry_set(e, error, list, n, keep_ms);
	e->resolver->n_pending--;
	list_add_tail(&e->resolver->answered, &e->link);
}

static bool is_localhost(const char *name)
{
	size_t len = strlen(name), tail = strlen(".localhost");

	return !strcmp(name, "localhost") ||
	       (len > tail && !strcmp(name + len - tail, ".localhost"));
}

/* What needs no question.  Return: addresses; -ENODATA; or -ENOENT, it must be asked for. */
static int find_here(const char *name, uint8_t family, struct addr *ret)
{
	int n;

	if (!addr_parse_ip(name, ret))
		return ret->family == family ? 1 : -ENODATA;
	n = hosts_find(HOSTS, name, family, ret, ADDRESSES_MAX);
	if (n >= 0) {
		n = (int)without_unspecified(ret, ret, (unsigned int)n);
		return n ? n : -ENODATA;
	}
	if (!is_localhost(name)) /* RFC 6761 section 6.3: nobody else is asked */
		return -ENOENT;
	addr_parse_ip(family == 4 ? "127.0.0.1" : "::1", ret);
	return 1;
}

static int entry_ask(struct entry *e)
{
	struct resolver *r = e->resolver;
	int ret;

	if (r->n_pending >= r->worker->realm->snapshot->limits.lookups)
		return -ENOBUFS;
	e->pending = true;
	e->question.done = on_answer;
	r->n_pending++;
	ret = channels_ask(&r->channels, e->name, &e->question);
	if (ret < 0)
		r->n_pending--;
	return ret;
}

static struct resolver *resolver_get(struct worker *w)
{
	struct resolver *r = w->dialer_state;
	uint64_t seed;

	if (r)
		return r;
	r = NEW0(struct resolver);
	if (!r)
		return NULL;
	r->worker = w;
	arc4random_buf(&seed, sizeof(seed));
	map_init(&r->entries, seed);
	list_init(&r->answered);
	list_init(&r->kept);
	channels_init(&r->channels, w, tell);
	w->dialer_state = r;
	return r;
}

/* A fresh entry, answered here or asked for.  NULL, with @ret set: cannot. */
static struct entry *entry_begin(struct resolver *r, const char *name, uint8_t family, int *ret)
{
	struct addr addrs[ADDRESSES_MAX];
	char valid[HOSTNAME_CAP];
	int n = find_here(name, family, addrs);
	struct entry *e;

	*ret = -ENOENT;
	if (n == -ENOENT && hostname_parse(span_str(name), valid) < 0)
		return NULL;
	*ret = -ENOMEM;
	e = entry_new(r, name, family);
	if (!e)
		return NULL;
	if (n != -ENOENT) {
		entry_set(e, n, addrs, n > 0 ? (unsigned int)n : 0, KEEP_LOCAL_MS);
		list_add_tail(&r->answered, &e->link);
		loop_defer(&r->worker->loop, &r->channels.task);
		return e;
	}
	*ret = entry_ask(e);
	if (!*ret)
		return e;
	entry_free(e);
	return NULL;
}

bool resolve_ask(struct worker *w, const char *name, uint8_t family, struct lookup *l,
		 struct answer *ret)
{
	struct resolver *r = resolver_get(w);
	struct entry *e = r ? entry_find(r, name, family) : NULL;

	*ret = (struct answer){ .error = -ENOMEM };
	if (!r)
		return true;
	if (e && e->kept && now_ms(r) >= e->expires_ms) {
		entry_forget(e);
		e = NULL;
	}
	if (!e) {
		e = entry_begin(r, name, family, &ret->error);
		if (!e)
			return true;
	}
	if (e->pending) {
		list_add_tail(&e->waiting, &l->link);
		return false;
	}
	if (e->kept) { /* now the one used last */
		list_del(&e->link);
		list_add_tail(&r->kept, &e->link);
	}
	*ret = entry_answer(e);
	return true;
}

void resolve_leave(struct worker *w)
{
	struct resolver *r = w->dialer_state;
	struct map_node *n;

	if (!r)
		return;
	channels_done(&r->channels);
	while ((n = map_any(&r->entries)))
		entry_free(map_entry(n, struct entry, node));
	map_done(&r->entries);
	free(r);
	w->dialer_state = NULL;
}
