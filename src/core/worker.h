/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/pool.h"
#include "core/handover.h"
#include "core/knock.h"
#include "core/lane.h"
#include "core/listener.h"
#include "core/parts.h"
#include "core/policy.h"
#include "core/settings.h"
#include "core/stats.h"
#include "loop/loop.h"

struct dns_desk;
struct dns_report;
struct flow;
struct http_exchange;
struct names;
struct nfqueue_batch;
struct own_ends;
struct realm;
struct own_ports;
struct socket_maker;
struct udp_batch;
struct worker;

/**
 * struct observer - who is told about flows, in the thread that carries them
 * @accepted:	a client is there; the target, too, if no byte of it was needed for that
 * @dialling:	a server is about to be dialled; a target that is a name has no address yet
 * @opened:	it is there
 * @decided:	the verdict is known, and what the client's first bytes said, if it spoke first
 * @exchange:	a request has been answered, or refused, in a flow of an HTTP proxy
 * @end_over:	@end has ended, by FIN or by RST (@end->failed); once for each
 * @closed:	the flow has ended (f->why); its facts and counters are still there, its filters
 *		are not
 * @dns_answered: a DNS listener is done with a query
 * @listen_failed: @l cannot be listened on, or could not accept; @error is -errno
 * @round:	a round of events is over
 * @ending:	the worker serves nobody any more: what is still open is closed now
 *
 * Each but @decided and @closed may be NULL.  Of a flow, @accepted comes first, @closed last.
 */
struct observer {
	void (*accepted)(struct worker *w, struct flow *f);
	void (*dialling)(struct worker *w, struct flow *f);
	void (*opened)(struct worker *w, struct flow *f);
	void (*decided)(struct worker *w, const struct flow *f);
	void (*exchange)(struct worker *w, const struct flow *f, const struct http_exchange *x);
	void (*end_over)(struct worker *w, struct flow *f, const struct end *end);
	void (*closed)(struct worker *w, const struct flow *f);
	void (*dns_answered)(struct worker *w, const struct dns_report *r);
	void (*listen_failed)(const struct realm *realm, const struct listener *l, int error);
	void (*round)(struct worker *w);
	void (*ending)(struct worker *w);
};

/**
 * struct snapshot - what the configuration says, compiled; never changes
 * @inbound:	what others send to this host's own servers may be intercepted
 */
struct snapshot {
	const struct policy *policy;
	struct timeouts timeouts;
	struct limits limits;
	struct resolver_settings resolver;
	uint32_t mark;
	bool inbound;
};

/**
 * struct realm - what all workers share
 * @snapshot:	flows remember the one they began with
 * @knocks:	clients of honest listeners that have not been accepted yet; NULL: there is no
 *		such listener
 * @knock_queues: where they come from
 * @interceptors: asked in this order whenever a server is there
 * @own_ends:	finds limpid's own connections that come back; NULL: none can
 * @own_ports:	the same for datagrams
 * @maker:	makes the sockets that dial; NULL: limpid does
 * @workers:	all of them, so that one can hand a client over to another
 * @names:	what clients were told by name servers; NULL: nobody asks
 * @login:	checks passwords; NULL: no listener wants users
 * @owner:	the observer's own
 * @n_flows:	flows of all workers
 * @look_ahead_bytes: kept by all flows
 */
struct realm {
	const struct snapshot *snapshot;
	struct parts parts;
	struct listener *listeners;
	unsigned int n_listeners;
	struct knock_table *knocks;
	const struct knock_queue *knock_queues;
	unsigned int n_knock_queues;
	const struct interceptor *interceptors;
	unsigned int n_interceptors;
	unsigned int pipes_per_worker;
	struct own_ends *own_ends;
	struct own_ports *own_ports;
	struct socket_maker *maker;
	struct worker *workers;
	unsigned int n_workers;
	const struct observer *observer;
	struct names *names;
	struct login *login;
	void *owner;
	atomic_uint n_flows;
	atomic_ullong look_ahead_bytes;
	atomic_ullong next_flow_id;
};

/* One worker's watch on one listener. */
struct worker_listener {
	struct watch watch;
	struct worker *worker;
	struct listener *listener;
};

/**
 * struct worker - one thread: its loop, its flows, what it lends to their lanes
 * @n_flows:	its flows, and those on their way to it in @inbox
 * @ended:	flows that have been closed in this round and wait to be freed
 * @moved:	bytes of all its flows, for those who wait for an end
 * @record:	the observer's own
 * @dialer_state: the name dialer's own
 * @proto_state: the own of the proto for clients of an HTTP proxy
 * @udp_batch:	lent to datagrams of flows, see worker_udp_batch()
 * @dns:	what it has for DNS listeners; NULL: there are none
 * @logins:	login requests that have been answered (login.c, under its lock)
 */
struct worker {
	struct realm *realm;
	unsigned int index;
	struct loop loop;
	struct lane_tools tools;
	struct pool flow_pool;
	struct list flows;
	struct list ended;
	atomic_uint n_flows;
	struct handover_box inbox;
	struct worker_listener *listeners;
	struct worker_knocks *knocks;
	struct nfqueue_batch *knock_batch;
	struct udp_batch *udp_batch;
	bool accepting, draining;
	struct timer accept_timer, drain_timer;
	atomic_bool drain_asked;
	struct stats stats;
	atomic_ullong moved;
	void *record;
	void *dialer_state;
	void *proto_state;
	struct dns_desk *dns;
	struct list logins;
};

/* Return: 0 or -errno. */
int worker_init(struct worker *w, struct realm *realm, unsigned int index);

/* The thread's main: runs until loop_stop(); then all flows end with WHY_SHUTDOWN. */
void worker_run(struct worker *w);

/* A flow of @w has ended, or could not begin. */
void worker_forget_flow(struct worker *w);

/* Who should carry one more: @w itself, unless another has clearly less to do. */
struct worker *worker_pick(struct worker *w);

/* From any thread: @w is to begin the flow of @k (@fd < 0), or to give its flow the client @fd. */
void worker_carry(struct worker *w, struct knock *k, int fd);

/* Room for datagrams, made when first asked for.  NULL: no memory. */
struct udp_batch *worker_udp_batch(struct worker *w);

/* Take no client for a moment. */
void worker_pause(struct worker *w);

/* From any thread: accept no more, and stop once the last flow has ended. */
void worker_drain(struct worker *w);

void worker_done(struct worker *w);

#endif
