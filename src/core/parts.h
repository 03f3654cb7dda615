/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_PARTS_H
#define CORE_PARTS_H

#include "base/span.h"
#include "core/stream.h"
#include "core/why.h"

/*
 * The open sets: what can be added without touching the core.  Streams are in stream.h,
 * filters in filter.h.
 */

struct addr;
struct answer;
struct datagram_ops;
struct flow;
struct learner;
struct lookup;
struct worker;

enum learn_result {
	LEARN_DONE,    /* knows all it can: the next learner, please */
	LEARN_MORE,    /* needs bytes that have not come yet */
	LEARN_AGAIN,   /* consumed, replied or pushed a layer: look again */
	LEARN_OPENING, /* has pushed a layer that is not up: again when it has been read from */
	LEARN_FAILED   /* the flow must end: f->why says why */
};

/**
 * struct learner_ops - one way to learn who wants what
 * @learn:	looks at @look, all bytes of the client that nobody has consumed, and adds to
 *		f->facts.  May call flow_consume(), flow_reply(), end_push().  Called again with
 *		more bytes after LEARN_MORE; at the client's end, or once the look-ahead is full,
 *		@last is set and LEARN_MORE means LEARN_DONE
 * @consumes:	its bytes are addressed to limpid: before it is done nothing is decided, dialled or
 *		handed on
 * @answer:	after flow_greeted(), called once the dial is decided: WHY_OPEN, the server is
 *		there, or why it is not (refused by policy, too).  NULL: nobody is told.
 *		Returns 0 or -errno
 * @asks_late:	of one that consumes: when the client's time is over (timeouts.sniff) it is asked
 *		with @last whether the flow can do without what has not come.  Otherwise it cannot
 * @waiting:	of a flow whose facts.bind is set: the server may connect to @bound from now on.
 *		answer() follows when it has, or will not.  Returns 0 or -errno
 * @forget:	release f->learner_state.  NULL: has none
 */
struct learner_ops {
	const char *name;
	bool consumes, asks_late;
	enum learn_result (*learn)(struct flow *f, const struct learner *l, struct span look,
				   bool last);
	int (*answer)(struct flow *f, const struct learner *l, enum why outcome);
	int (*waiting)(struct flow *f, const struct learner *l, const struct addr *bound);
	void (*forget)(struct flow *f);
};

/**
 * struct layer_ops - a stream layer that parts push without knowing it
 * @push:	put it on top of @e.  Return: 0 or -errno
 * @open:	take the next steps towards its being up: 0, it is; -EAGAIN, not yet; another
 *		-errno, it failed
 */
struct layer_ops {
	const char *name;
	int (*push)(struct end *e, const void *conf);
	int (*open)(struct end *e);
};

/* A layer as one configuration uses it; no @ops: none. */
struct layer {
	const struct layer_ops *ops;
	const void *conf;
};

/* A learner as one listener uses it; @conf is the learner's own business and immutable. */
struct learner {
	const struct learner_ops *ops;
	const void *conf;
};

/**
 * struct dialer_ops - one way to get a server
 * @dial:	begin.  0: begun; -errno: cannot.  Either f->server has a socket, which the core
 *		then watches, or the dialer waits for something of its own, keeps it in
 *		f->dialer_state and calls flow_run() when it has come
 * @dialled:	called when something happened: 0, the server is there; -EAGAIN, not yet;
 *		-ECANCELED, it failed for the reason in f->why; another -errno, it failed.
 *		A dialer without a socket of its own gives f->server one here, watched, and calls
 *		flow_set_target().  Both may end the flow by flow_refuse_target(), or say -EREMCHG:
 *		by flow_set_target() they have set a plan that goes through a proxy
 * @forget:	stop and release f->dialer_state.  NULL: has none
 * @leave:	release w->dialer_state; no flow is left.  NULL: has none
 */
struct dialer_ops {
	const char *name;
	int (*dial)(struct flow *f);
	int (*dialled)(struct flow *f);
	void (*forget)(struct flow *f);
	void (*leave)(struct worker *w);
};

/**
 * struct proto_ops - what runs between the ends
 * @open:	both ends are there (a proto that serves the client: the client's is)
 * @relay:	anything happened: move what can move.  May close the flow
 * @timeout:	the flow's timer, set by the proto, is due
 * @dialled:	of a proto that serves the client: what came of flow_serve_dial().  WHY_OPEN:
 *		f->server is there; else why not, and there is none
 * @forget:	release f->proto_state.  NULL: has none
 * @leave:	release w->proto_state; no flow is left.  NULL: has none
 */
struct proto_ops {
	const char *name;
	void (*open)(struct flow *f);
	void (*relay)(struct flow *f);
	void (*timeout)(struct flow *f);
	void (*dialled)(struct flow *f, enum why outcome);
	void (*forget)(struct flow *f);
	void (*leave)(struct worker *w);
};

/**
 * struct interceptor - something that wants to see what flows carry
 * @open:	the server is there and nothing has been relayed: may put filters (filter.h) into
 *		f->up and f->down.  Return: 0, also if it has no interest in this flow; -errno ends
 *		the flow with WHY_FILTER
 * @conf:	its own business
 */
struct interceptor {
	int (*open)(struct flow *f, const struct interceptor *i);
	const void *conf;
};

/**
 * struct parts - what flows are made of unless policy says otherwise
 * @name_dialer: for targets that are names, and served flows; NULL: they cannot be dialled
 * @proxy_dialer: for plans with an upstream proxy
 * @accept_dialer: for flows that wait for their server to connect; NULL: none can
 * @http:	for clients of an HTTP proxy; NULL: they can only CONNECT
 * @associate:	for clients of SOCKS that want to send datagrams; NULL: they cannot
 * @ask:	for addresses of a name, family 4 or 6 (lookup.h): true with @ret, or false, and @l
 *		will hear.  NULL: nobody knows any
 * @datagrams:	decides about datagrams of flows, and hears of them; its owner is their worker
 */
struct parts {
	const struct stream_ops *socket;
	const struct dialer_ops *dialer;
	const struct dialer_ops *name_dialer;
	const struct dialer_ops *proxy_dialer;
	const struct dialer_ops *accept_dialer;
	const struct proto_ops *proto;
	const struct proto_ops *http;
	const struct proto_ops *associate;
	bool (*ask)(struct worker *w, const char *name, uint8_t family, struct lookup *l,
		    struct answer *ret);
	const struct datagram_ops *datagrams;
	const struct proto_ops *dns;
};

#endif
