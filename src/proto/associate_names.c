/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The first datagram to a name asks for its addresses of both families; it
 * and what follows is kept, within limits, until both answers are there.  One address is then
 * chosen, of those that policy lets the client send to and to which there is a way, and stays the
 * name's for as long as the client uses it: a conversation does not change its server because the
 * next answer comes in another order.
 *
 * A name without an address is remembered, too: its datagrams are dropped, and it is said once.
 * So is one that policy refuses whatever its address is, for the port it was asked about.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/worker.h"
#include "proto/associate_names.h"
#include "sys/route.h"

#define NAMES_MAX 64
#define KEPT_MAX_BYTES ((size_t)128 << 10)
#define CHOICES 16
/* Unused for so long, a name is asked for again. */
#define FORGET_MS 60000
#define FORGET_FAILED_MS 5000

struct kept {
	struct list link;
	struct udp_packet packet;
	uint8_t bytes[];
};

/**
 * struct name - one name
 * @n_pending:	answers that have not come
 * @address:	chosen; .family 0: none
 * @refused_port: policy refuses it there; 0: it was asked for
 */
struct name {
	struct list link;
	struct associate_names *names;
	struct lookup lookup_v6, lookup_v4;
	unsigned int n_pending;
	struct addr choices[CHOICES];
	unsigned int n_choices;
	int error;
	struct addr address;
	uint16_t refused_port;
	struct list kept;
	uint64_t used_ms;
	char text[];
};

static uint64_t now_ms(const struct associate_names *names)
{
	return loop_now_ms(&names->worker->loop);
}

/* What a datagram takes while it is kept, be it empty. */
static size_t kept_size(const struct udp_packet *packet)
{
	return sizeof(struct kept) + packet->payload.len;
}

static void kept_drop(struct name *n)
{
	struct list *l, *tmp;

	list_for_each(l, tmp, &n->kept) {
		struct kept *k = list_entry(l, struct kept, link);

		n->names->kept_bytes -= kept_size(&k->packet);
		list_del(l);
		free(k);
	}
}

static void name_free(struct name *n)
{
	kept_drop(n);
	lookup_cancel(&n->lookup_v6);
	lookup_cancel(&n->lookup_v4);
	list_del(&n->link);
	n->names->n--;
	free(n);
}

/* ---- answers ---- */

static bool is_good(const struct name *n, const struct addr *a)
{
	struct addr source;

	return n->names->may(n->names, n->text, a) &&
	       route_source(a, n->names->worker->realm->snapshot->mark, &source) >= 0;
}

/* The first good one; if there is none the first: it is policy that says so. */
static void choose(struct name *n, uint16_t port)
{
	for (unsigned int i = 0; i < n->n_choices && !n->address.family; i++) {
		n->choices[i].port = port;
		if (is_good(n, &n->choices[i]))
			n->address = n->choices[i];
	}
	if (!n->address.family && n->n_choices)
		n->address = n->choices[0];
}

static void take_answer(struct name *n, const struct answer *answer)
{
	n->n_pending--;
	for (unsigned int i = 0; i < answer->n && n->n_choices < CHOICES; i++)
		n->choices[n->n_choices++] = answer->addrs[i];
	if (!n->error || n->error == -ENODATA || n->error == -ENOENT)
		n->error = answer->error;
}

static void answered(struct name *n)
{
	struct associate_names *names = n->names;
	struct list *l, *tmp, kept;
	uint16_t port;

	if (n->n_pending || list_empty(&n->kept))
		return;
	port = list_entry(n->kept.next, struct kept, link)->packet.to.port;
	choose(n, port);
	if (!n->address.family) {
		kept_drop(n);
		names->failed(names, n->text, port,
			      n->error == -ENOENT || n->error == -ENODATA ? WHY_NAME_UNKNOWN
									  : WHY_NAME_FAILED);
		return;
	}
	list_init(&kept);
	list_splice(&kept, &n->kept);
	list_for_each(l, tmp, &kept) {
		struct kept *k = list_entry(l, struct kept, link);

		port = k->packet.to.port;
		k->packet.to = n->address;
		k->packet.to.port = port;
		names->kept_bytes -= kept_size(&k->packet);
		names->send(names, &k->packet);
		free(k);
	}
}

static void on_answer_v6(struct lookup *l, const struct answer *answer)
{
	struct name *n = container_of(l, struct name, lookup_v6);

	take_answer(n, answer);
	answered(n);
}

static void on_answer_v4(struct lookup *l, const struct answer *answer)
{
	struct name *n = container_of(l, struct name, lookup_v4);

	take_answer(n, answer);
	answered(n);
}

static void ask(struct name *n, uint8_t family, struct lookup *l)
{
	struct worker *w = n->names->worker;
	struct answer answer;

	if (w->realm->parts.ask(w, n->text, family, l, &answer))
		take_answer(n, &answer);
}

/* ---- names ---- */

static bool is_stale(const struct name *n)
{
	uint64_t unused_ms = now_ms(n->names) - n->used_ms;

	if (n->n_pending)
		return false;
	return unused_ms >= (n->address.family ? FORGET_MS : FORGET_FAILED_MS);
}

static struct name *name_find(const struct associate_names *names, const char *text)
{
	struct list *l, *tmp;

	list_for_each(l, tmp, &names->list) {
		struct name *n = list_entry(l, struct name, link);

		if (!strcmp(n->text, text))
			return n;
	}
	return NULL;
}

/* A new name, asked for if @port may be.  NULL: no memory. */
static struct name *name_new(struct associate_names *names, const char *text, uint16_t port)
{
	size_t len = strlen(text) + 1;
	struct name *n;

	if (names->n >= NAMES_MAX)
		name_free(list_entry(names->list.next, struct name, link));
	n = calloc(1, sizeof(*n) + len);
	if (!n)
		return NULL;
	memcpy(n->text, text, len);
	n->names = names;
	list_init(&n->kept);
	lookup_init(&n->lookup_v6, on_answer_v6);
	lookup_init(&n->lookup_v4, on_answer_v4);
	n->used_ms = now_ms(names);
	list_add_tail(&names->list, &n->link);
	names->n++;
	if (names->refused(names, text, port)) {
		n->refused_port = port;
		return n;
	}
	n->n_pending = 2;
	ask(n, 4, &n->lookup_v4);
	ask(n, 6, &n->lookup_v6);
	return n;
}

static void keep(struct name *n, const struct udp_packet *packet)
{
	struct associate_names *names = n->names;
	struct kept *k;

	if (names->kept_bytes + kept_size(packet) > KEPT_MAX_BYTES)
		return;
	k = malloc(kept_size(packet));
	if (!k)
		return;
	k->packet = *packet;
	if (packet->payload.len)
		memcpy(k->bytes, packet->payload.data, packet->payload.len);
	k->packet.payload.data = k->bytes;
	names->kept_bytes += kept_size(packet);
	list_add_tail(&n->kept, &k->link);
}

bool associate_names_resolve(struct associate_names *names, const char *name,
			     struct udp_packet *packet)
{
	struct name *n = name_find(names, name);
	uint16_t port = packet->to.port;

	if (n && (is_stale(n) || (n->refused_port && n->refused_port != port))) {
		name_free(n);
		n = NULL;
	}
	if (!n) {
		n = name_new(names, name, port);
		if (!n || n->refused_port)
			return false;
		keep(n, packet);
		answered(n); /* it may have been known already */
		return false;
	}
	if (n->address.family || n->n_pending)
		n->used_ms = now_ms(names);
	list_del(&n->link);
	list_add_tail(&names->list, &n->link);
	if (n->n_pending)
		keep(n, packet);
	if (n->n_pending || !n->address.family)
		return false;
	packet->to = n->address;
	packet->to.port = port;
	return true;
}

const char *associate_names_of(const struct associate_names *names, const struct addr *a)
{
	struct list *l, *tmp;
	const char *text = NULL;

	list_for_each(l, tmp, &names->list) { /* the last is the one used last */
		struct name *n = list_entry(l, struct name, link);

		if (addr_ip_eq(&n->address, a))
			text = n->text;
	}
	return text;
}

void associate_names_init(struct associate_names *names, struct worker *w)
{
	names->worker = w;
	list_init(&names->list);
}

void associate_names_done(struct associate_names *names)
{
	while (!list_empty(&names->list))
		name_free(list_entry(names->list.next, struct name, link));
}
