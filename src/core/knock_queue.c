/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  All workers watch each queue as they watch each listening socket.  A
 * SYN becomes a flow that has no client yet (core/flow_knock.c); what is no SYN of a client we
 * could answer is let go, and meets the listener as if nobody had looked.
 *
 * At limits.flows nothing is read: packets wait in the kernel, which holds limits.held-syns of
 * them and treats the rest as the listener's `when-full` says.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/flow.h"
#include "core/knock.h"
#include "core/worker.h"
#include "sys/nfqueue.h"

#define LOOPBACK_IFINDEX 1 /* in every namespace: include/net/net_namespace.h */

void knock_verdict(const struct knock_queue *q, uint32_t packet, bool accept)
{
	/* what cannot be said now would leave the packet held until we end: nobody waits so long */
	(void)nfqueue_verdict(q->fd, q->number, packet, accept);
}

/* Which interface a link-local address belongs to would have to be guessed. */
static bool is_link_local(const struct addr *a)
{
	return a->family == 6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

static bool is_for_us(const struct knock_queue *q, struct span head, struct ip_tcp *ret)
{
	if (ip_tcp_parse(head, ret) != CODEC_DONE)
		return false;
	if ((ret->flags & (IP_TCP_SYN | IP_TCP_ACK | IP_TCP_RST | IP_TCP_FIN)) != IP_TCP_SYN)
		return false;
	return q->listener[knock_family_index(&ret->from)] && !is_link_local(&ret->from) &&
	       !is_link_local(&ret->to);
}

/* A flow that no client has asked for before. */
static void start(struct worker *w, struct knock *k)
{
	atomic_fetch_add(&w->realm->n_flows, 1);
	atomic_fetch_add(&k->worker->n_flows, 1);
	if (k->worker == w)
		flow_start_knock(w, k);
	else
		worker_carry(k->worker, k, -1);
}

static void knocked(struct worker *w, const struct knock_queue *q, const struct nfqueue_packet *p)
{
	struct knock model = { .queue = q, .packet = p->id }, *k = NULL;
	uint32_t older = 0;

	if (!is_for_us(q, p->head, &model.syn)) {
		knock_verdict(q, p->id, true);
		return;
	}
	model.by_loopback = p->in_ifindex == LOOPBACK_IFINDEX;
	memcpy(model.head, p->head.data, model.syn.head_len);
	model.worker = worker_pick(w);
	switch (knock_note(w->realm->knocks, &model, &k, &older)) {
	case KNOCK_NEW:
		start(w, k);
		return;
	case KNOCK_AGAIN:
		knock_verdict(q, older, false);
		return;
	case KNOCK_RELEASED:
		knock_verdict(q, p->id, true);
		return;
	case KNOCK_NO_MEMORY:
		knock_verdict(q, p->id, false);
		return;
	}
}

void knock_on_ready(struct watch *watch, uint32_t ready)
{
	struct worker_knocks *wk = container_of(watch, struct worker_knocks, watch);
	struct worker *w = wk->worker;
	struct nfqueue_packet packets[NFQUEUE_BATCH];
	int n;

	(void)ready;
	if (atomic_load(&w->realm->n_flows) >= w->realm->snapshot->limits.flows) {
		worker_pause(w);
		return;
	}
	n = nfqueue_read(wk->queue->fd, w->knock_batch, packets);
	for (int i = 0; i < n; i++)
		knocked(w, wk->queue, &packets[i]);
}
