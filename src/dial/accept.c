/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A client may ask not to be connected but to be connected to (SOCKS BIND).
 * It has announced who will come.  A socket listens on the address of this host from which that
 * peer would be dialled, because that is the one at which the peer can reach us; the address at
 * which the client has reached us may be on another side.  If the client has announced nobody
 * (0.0.0.0 or ::, as all do whose program calls bind(2) before it knows) it is the address of the
 * default route, and only without one the latter.
 *
 * Policy is asked about the peer as if it were dialled, at the port that was announced, and its
 * rule must also say `bind`.  Whoever else connects is reset and counted, and the socket goes on
 * listening; the peer's own port is not compared (FTP announces 21 and comes from 20).  Where
 * nobody was announced policy is asked about each that comes.  A name is resolved first: each of
 * its addresses that policy lets come may be the peer.
 *
 * There is one listening socket per flow, and it is closed when the peer is there, whose socket
 * takes its place, or when the flow ends.
 */
#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/flow.h"
#include "core/worker.h"
#include "dial/accept.h"
#include "dial/resolve.h"
#include "sys/route.h"
#include "sys/sock.h"

#define BACKLOG 8
#define ACCEPTS_PER_EVENT 16
#define PEERS 32

/**
 * struct accept_dial - f->dialer_state
 * @fd:		listens; -1: not yet
 * @n_pending:	answers that have not come
 * @peers, @n_peers: addresses of the target's name, the announced port with each
 * @lookup_error: why there are none
 */
struct accept_dial {
	struct watch watch;
	struct flow *flow;
	int fd;
	struct lookup lookup_v4, lookup_v6;
	unsigned int n_pending;
	struct addr peers[PEERS];
	unsigned int n_peers;
	int lookup_error;
};

static int fail(struct flow *f, enum why why)
{
	f->why = why;
	return -ECANCELED;
}

/* ---- who may come ---- */

/* 0, @a may; -EACCES, policy refuses it; -ECANCELED, the rule is not about being connected to:
 * f->why says what is missing. */
static int ask_policy(struct flow *f, const struct addr *a, struct decision *ret)
{
	if (flow_ask_target(f, a, ret) != TARGET_ACCEPTED || !ret->final)
		return -EACCES;
	if (ret->plan.via) /* it would come past the proxy */
		return fail(f, WHY_PROXY_REFUSED);
	return ret->plan.bind ? 0 : fail(f, WHY_BIND_REFUSED);
}

/* Is @peer one of those that were announced? */
static bool is_awaited(const struct accept_dial *a, const struct addr *peer)
{
	const struct facts *facts = &a->flow->facts;

	for (unsigned int i = 0; i < a->n_peers; i++)
		if (addr_ip_eq(&a->peers[i], peer))
			return true;
	return !facts->target_name &&
	       (addr_is_unspecified(&facts->target) || addr_ip_eq(&facts->target, peer));
}

/* ---- listening ---- */

static void on_ready(struct watch *w, uint32_t ready)
{
	struct accept_dial *a = container_of(w, struct accept_dial, watch);

	(void)ready;
	flow_run(a->flow);
}

/* Where @peer can reach us. */
static int local_address(const struct flow *f, const struct addr *peer, struct addr *ret)
{
	struct addr nobody; /* RFC 5737, RFC 3849: there is no route to it but the default one */
	int r;

	if (addr_is_unspecified(peer)) {
		r = addr_parse_ip(peer->family == 4 ? "192.0.2.1" : "2001:db8::1", &nobody);
		if (!r)
			r = route_source(&nobody, f->snapshot->mark, ret);
		if (r < 0)
			r = sock_local(f->client.fd, ret);
	} else {
		r = route_source(peer, f->snapshot->mark, ret);
	}
	ret->port = 0;
	return r;
}

static int listen_for(struct accept_dial *a, const struct addr *peer)
{
	struct flow *f = a->flow;
	struct addr local;
	int r;

	r = local_address(f, peer, &local);
	if (r < 0)
		return r;
	r = sock_listen_tcp(&local, false, f->snapshot->mark);
	if (r < 0)
		return r;
	a->fd = r;
	(void)sock_set_backlog(a->fd, BACKLOG);
	r = sock_local(a->fd, &local);
	if (!r)
		r = loop_watch_level(&f->worker->loop, &a->watch, a->fd, false);
	if (!r && flow_waiting(f, &local) < 0)
		r = fail(f, WHY_CLIENT_RESET);
	return r;
}

/* Of the addresses of a name one decides where to listen: the first that may come, of the client's
 * family if there is one. */
static int listen_for_name(struct accept_dial *a)
{
	struct flow *f = a->flow;
	struct decision d, refused = { 0 };
	const struct addr *best = NULL;
	int r = -ENODATA;

	for (unsigned int i = 0; i < a->n_peers; i++) {
		const struct addr *peer = &a->peers[i];
		int may = ask_policy(f, peer, &d);

		if (may == -EACCES)
			refused = d;
		if (may < 0)
			r = may;
		else if (!best || (best->family != f->facts.client.family &&
				   peer->family == f->facts.client.family))
			best = peer;
	}
	if (best)
		return listen_for(a, best);
	if (r != -EACCES)
		return r;
	flow_refuse_target(f, &refused); /* frees @a */
	return -EAGAIN;
}

static int listen_begin(struct accept_dial *a)
{
	struct flow *f = a->flow;
	struct decision d;
	int r;

	if (f->facts.target_name && !a->n_peers)
		return fail(f, a->lookup_error == -ENOENT || a->lookup_error == -ENODATA
				       ? WHY_NAME_UNKNOWN
				       : WHY_NAME_FAILED);
	if (f->facts.target_name)
		return listen_for_name(a);
	r = ask_policy(f, &f->facts.target, &d);
	return r < 0 ? r : listen_for(a, &f->facts.target);
}

/* ---- the addresses of a name ---- */

static void take_answer(struct accept_dial *a, const struct answer *answer)
{
	a->n_pending--;
	for (unsigned int i = 0; i < answer->n && a->n_peers < PEERS; i++) {
		a->peers[a->n_peers] = answer->addrs[i];
		a->peers[a->n_peers++].port = a->flow->facts.target.port;
	}
	if (!answer->n &&
	    (!a->lookup_error || a->lookup_error == -ENODATA || a->lookup_error == -ENOENT))
		a->lookup_error = answer->error;
}

static void answered(struct accept_dial *a, const struct answer *answer)
{
	take_answer(a, answer);
	flow_run(a->flow);
}

static void on_answer_v4(struct lookup *l, const struct answer *answer)
{
	answered(container_of(l, struct accept_dial, lookup_v4), answer);
}

static void on_answer_v6(struct lookup *l, const struct answer *answer)
{
	answered(container_of(l, struct accept_dial, lookup_v6), answer);
}

static void ask(struct accept_dial *a, uint8_t family, struct lookup *l)
{
	struct flow *f = a->flow;
	struct answer answer;

	a->n_pending++;
	if (resolve_ask(f->worker, f->facts.target_name, family, l, &answer))
		take_answer(a, &answer);
}

/* ---- the peer ---- */

/* @fd is @peer, about which policy has said @d: the server's end. */
static int peer_take(struct accept_dial *a, int fd, const struct addr *peer,
		     const struct decision *d)
{
	struct flow *f = a->flow;

	f->server.fd = fd;
	f->server.writable = true;
	f->decision = *d;
	flow_set_target(f, peer, &d->plan);
	return loop_watch(&f->worker->loop, &f->server.watch, fd);
}

static int peer_accept(struct accept_dial *a)
{
	struct flow *f = a->flow;
	struct addr peer, asked;
	struct decision d;
	int fd;

	for (unsigned int i = 0; i < ACCEPTS_PER_EVENT; i++) {
		fd = sock_accept(a->fd, &peer);
		if (fd == -EAGAIN || fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
			return fd;
		if (fd < 0) /* it has gone again */
			continue;
		asked = peer;
		asked.port = f->facts.target.port;
		if (is_awaited(a, &peer) && ask_policy(f, &asked, &d) == 0)
			return peer_take(a, fd, &peer, &d);
		f->worker->stats.bind_strangers++;
		sock_close_reset(fd);
	}
	return -EAGAIN; /* the rest is reported again */
}

/* ---- the dialer ---- */

/* The next steps: 0, the peer is there; -EAGAIN, not yet. */
static int step(struct accept_dial *a)
{
	int r;

	if (a->n_pending)
		return -EAGAIN;
	if (a->fd >= 0)
		return peer_accept(a);
	a->flow->resolving = false;
	r = listen_begin(a);
	return r < 0 ? r : -EAGAIN;
}

static int accept_dial(struct flow *f)
{
	struct accept_dial *a = NEW0(struct accept_dial);
	int r;

	if (!a)
		return -ENOMEM;
	f->dialer_state = a;
	a->watch.on_ready = on_ready;
	a->flow = f;
	a->fd = -1;
	lookup_init(&a->lookup_v4, on_answer_v4);
	lookup_init(&a->lookup_v6, on_answer_v6);
	if (f->facts.target_name) {
		f->resolving = true;
		ask(a, 4, &a->lookup_v4);
		ask(a, 6, &a->lookup_v6);
	}
	r = step(a);
	return r == -EAGAIN ? 0 : r;
}

static void accept_forget(struct flow *f)
{
	struct accept_dial *a = f->dialer_state;

	f->dialer_state = NULL;
	if (!a)
		return;
	lookup_cancel(&a->lookup_v4);
	lookup_cancel(&a->lookup_v6);
	if (a->fd >= 0) {
		loop_forget(&f->worker->loop, &a->watch);
		close(a->fd);
	}
	free(a);
}

static int accept_dialled(struct flow *f)
{
	int r = step(f->dialer_state);

	if (!r)
		accept_forget(f);
	return r;
}

const struct dialer_ops accept_dialer_ops = {
	.name = "accept",
	.dial = accept_dial,
	.dialled = accept_dialled,
	.forget = accept_forget,
};
