/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_FLOW_H
#define CORE_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/facts.h"
#include "core/lane.h"
#include "core/parts.h"
#include "core/policy.h"
#include "core/stream.h"
#include "core/why.h"
#include "loop/loop.h"

struct knock;
struct listener;
struct own_end;
struct snapshot;
struct worker;

/**
 * enum phase - where the conversation as a whole stands
 * @PHASE_LEARN:  policy needs facts that only the client can give; no server yet
 * @PHASE_DIAL:	  the server is being dialled; learning may go on beside it
 * @PHASE_AWAIT:  honest connect: the SYN has been let go (the server is there, or policy needs to
 *		  hear the client first), and the client is to be accepted; it has no socket yet
 * @PHASE_RELAY:  both ends are open, the proto has the word; learning may go on beside it
 * @PHASE_DENY:	  held unread until the timer
 * @PHASE_FAREWELL: the client has been told why not, and gets time to read it
 * @PHASE_CLOSED: ended, to be freed at the end of the round; nothing may be called
 */
enum phase {
	PHASE_LEARN,
	PHASE_DIAL,
	PHASE_AWAIT,
	PHASE_RELAY,
	PHASE_DENY,
	PHASE_FAREWELL,
	PHASE_CLOSED,
};

/* Which source address the server sees in the end. */
enum source_got {
	SOURCE_GOT_OWN,
	SOURCE_GOT_ADDRESS, /* the client's ip, another port */
	SOURCE_GOT_EXACT,   /* the client's ip:port */
};

/**
 * struct flow - one intercepted conversation
 * @link:	in worker's flows, or, once closed, in worker's ended
 * @look:	the client's first bytes, for as long as learners need them
 * @look_sent:	how many of them the lane has been given already
 * @view:	what learners may look at: all of @look, or what has just been read; only while
 *		they run
 * @learner:	index of the learner that has the word
 * @opening:	a layer that a learner has pushed is not up yet
 * @learned:	no learner is left: the up lane reads by itself
 * @settled_by_time: policy decided without waiting any longer; what is learnt later may narrow
 * @holding:	first bytes are kept back until policy knows, or the target's addresses are;
 *		the timer ends that
 * @translated:	conntrack rewrites packets from the client's ip:port to the target: the server
 *		cannot be dialled from there
 * @look_full:	the client's first bytes reached limits.look-ahead
 * @announced:	the observer has been told the verdict
 * @arrived:	it has been told of the flow
 * @client_over, @server_over: and that this end is over
 * @decision:	policy's; .final once nothing can change it
 * @plan:	what the server was dialled with
 * @greeter:	the learner that owes the client an answer
 * @login:	a password of this flow is being checked: see login.c
 * @answered:	it has had its answer, or has been asked to speak first
 * @served:	the proto deals with the client itself: see flow_serve.c
 * @proto_state: the proto's own
 * @farewell_ms: when PHASE_FAREWELL began
 * @resolving:	no address of the target's name is known yet
 * @came, @made: the two connections as realm->own_ends knows them; NULL: it does not
 * @dead:	the end that failed, while the other is still given what it had sent
 * @unsaid_bytes: what the living end has not acknowledged of it
 * @active_ms:	when bytes last moved, on the loop's clock
 * @start_us:	wall clock
 * @knock:	honest connect: the client's SYN; until the client has been accepted its end has no
 *		socket (flow_awaits_client())
 * @dial_error:	what ended the dial, as -errno
 * @upgrade:	called once both lanes are drained: see flow_upgrade()
 * @user:	the observer's own
 *
 * One allocation.  An idle flow holds nothing else but the strings of its facts.
 */
struct flow {
	struct list link;
	struct worker *worker;
	const struct listener *listener;
	const struct snapshot *snapshot;
	const struct dialer_ops *dialer;
	const struct proto_ops *proto;
	uint64_t id;
	uint64_t start_us;
	uint64_t active_ms;
	struct facts facts;
	struct decision decision;
	struct plan plan;
	struct end client, server;
	struct lane up, down;
	struct timer timer;
	struct task task;
	struct buf look;
	struct span view;
	uint32_t look_sent;
	void *learner_state;
	void *dialer_state;
	struct own_end *came, *made;
	void *proto_state;
	const struct learner *greeter;
	struct login_request *login;
	uint64_t farewell_ms;
	struct end *dead;
	uint64_t unsaid_bytes;
	void (*upgrade)(struct flow *f);
	void *user;
	struct knock *knock;
	int dial_error;
	enum phase phase;
	enum why why;
	enum source_got source_got;
	uint8_t learner;
	bool opening, learned, settled_by_time, announced, holding, look_full, translated;
	bool arrived, client_over, server_over;
	bool resolving, served, answered;
};

/**
 * flow_start() - a client has been accepted and counted in @w->n_flows
 * @fd:		owned by the flow from now on, also on failure
 */
void flow_start(struct worker *w, const struct listener *l, int fd, const struct addr *client);

/**
 * flow_start_knock() - a client of an honest listener has sent its SYN, and is counted in
 *	@w->n_flows
 * @k:		the flow's from now on, also on failure
 */
void flow_start_knock(struct worker *w, struct knock *k);

/* The client who knocked has been accepted; @k has been claimed. */
void flow_knock_accepted(struct knock *k, int fd);

/* Drop the packet if it is held still, and free @k, which is in no table. */
void flow_knock_drop(struct knock *k);

/* Something happened: take the next steps.  Idempotent. */
void flow_run(struct flow *f);

/* End it: both ends are closed (with RST unless it is WHY_FINISHED), the observer is told. */
void flow_close(struct flow *f, enum why why);

/* Worker only: at the end of the round. */
void flow_free(struct flow *f);

/* Run again as a task, after others have had their turn. */
void flow_defer(struct flow *f);

/* Set the one timer; the phase (in PHASE_RELAY the proto) knows what it means. */
void flow_set_timer(struct flow *f, uint32_t delay_ms);

/* Tell the observer the verdict, once. */
void flow_announce(struct flow *f);

/* Tell the observer that a client is there, once. */
void flow_arrive(struct flow *f);

/* Tell the observer that @end is over, once. */
void flow_end_over(struct flow *f, const struct end *end);

static inline bool flow_is_closed(const struct flow *f)
{
	return f->phase == PHASE_CLOSED;
}

/* Closed, or about to be: nothing more will be decided or relayed. */
static inline bool flow_is_over(const struct flow *f)
{
	return f->phase == PHASE_CLOSED || f->phase == PHASE_FAREWELL;
}

/*
 * For learners.
 */

/* Take the first @n bytes away from what is looked at: they were addressed to limpid. */
void flow_consume(struct flow *f, size_t n);

/* Say something to the client on behalf of a learner.  Return: 0 or -errno. */
int flow_reply(struct flow *f, struct span bytes);

/* @l has recognised its client: it owes an answer, whatever becomes of the flow. */
void flow_greeted(struct flow *f, const struct learner *l);

/* The client, who may be waiting for an answer, is to be heard first: it gets it now, as if the
 * server were there.  A refusal later can then only be a RST. */
void flow_hear(struct flow *f);

/**
 * flow_serve() - this flow is @proto's: nothing is decided or dialled for it as a whole
 *
 * For a learner that then returns LEARN_DONE.  What has been looked at and not consumed is in
 * f->look when @proto's open() is called; it is the proto's to consume (flow_consume()).
 */
void flow_serve(struct flow *f, const struct proto_ops *proto);

/**
 * flow_serve_end() - the proto of a served flow gives it back to the learner it came from
 * @rest:	what the client has said that nobody has consumed
 *
 * The proto's forget() is called.
 */
void flow_serve_end(struct flow *f, struct span rest);

/* With LEARN_FAILED: the client has had its answer, and is to read it before the end. */
void flow_farewell(struct flow *f, enum why why);

/*
 * Between flow.c and flow_serve.c.
 */

/* Let the greeter answer.  Return: 0 or -errno. */
int flow_answer(struct flow *f, enum why outcome);

/* The server may connect to @bound: the greeter says so.  Return: 0 or -errno. */
int flow_waiting(struct flow *f, const struct addr *bound);

/* There will be no server: the greeter says why, and the flow ends when that has been read;
 * without a greeter it ends at once. */
void flow_turn_away(struct flow *f, enum why why);

void flow_run_farewell(struct flow *f);
void flow_serve_begin(struct flow *f);

/* The server, which is there and has been told nothing, is told first who its client is, as
 * f->plan says.  Return: 0 or -ENOMEM. */
int flow_introduce(struct flow *f);

/**
 * flow_header_write() - the header of the PROXY protocol about the client of @f
 * @destination: whom it says the client asked for
 * @out:	PROXY_HEADER_WRITE_CAP bytes
 *
 * Return: bytes written.
 */
size_t flow_header_write(const struct flow *f, uint8_t version, const struct addr *destination,
			 uint8_t *out);

/*
 * Between flow.c, flow_learn.c and flow_knock.c.
 */

/* A flow without a socket.  NULL: no memory. */
struct flow *flow_new(struct worker *w, const struct listener *l, const struct addr *client);

/* Did its client knock, and has not been accepted yet? */
bool flow_awaits_client(const struct flow *f);

/* Let the SYN go: PHASE_AWAIT. */
void flow_knock_let_go(struct flow *f);

/* The flow has ended and its client was not accepted: tell it why. */
void flow_knock_closed(struct flow *f);

/* PHASE_AWAIT is over: the client end has a socket. */
void flow_client_came(struct flow *f);

/* Who names no host has perhaps asked for the target's address by name: facts.learnt_name. */
void flow_recall_name(struct flow *f);

/* Ask policy; take the step that follows from what it says. */
void flow_decide(struct flow *f);

/*
 * Between flow.c, flow_learn.c and flow_own.c: limpid as its own client.
 */

/* Is the client limpid itself?  Asked once, when the learners that need no bytes have run. */
bool flow_came_back(struct flow *f);

/* Has a header named a connection of limpid's own as the client's?  For who has read it. */
bool flow_is_named_back(const struct flow *f);

/* The dialer's dial(); -ELOOP: it leads to limpid itself. */
int flow_dial(struct flow *f);

/* The server that has been dialled, whose address is known: is it limpid itself? */
bool flow_goes_round(struct flow *f);

/* Before its sockets are closed: has either turned out to be limpid's own other end? */
bool flow_was_loop(struct flow *f);

/* Run the learners that need no bytes. */
void flow_learn_start(struct flow *f);

/* The client's time is over: whoever can do without what it has not said goes on. */
void flow_learn_late(struct flow *f);

/* Is a learner that consumes still to be done? */
bool flow_is_greeting(const struct flow *f);

/*
 * For dialers of names.
 */

enum target_answer {
	TARGET_ACCEPTED,
	TARGET_OPEN, /* not before the client has said more */
	TARGET_REFUSED,
	TARGET_LOOP, /* one of limpid's own listeners */
};

/**
 * flow_ask_target() - may this flow go to @a, an address of its target's name?
 * @ret:	what policy says when @a is the target; its plan is valid when accepted
 */
enum target_answer flow_ask_target(const struct flow *f, const struct addr *a,
				   struct decision *ret);

/* @a has answered: it is the target from now on, dialled as @plan says. */
void flow_set_target(struct flow *f, const struct addr *a, const struct plan *plan);

/*
 * Around source_connect() to @target: is it limpid itself?  @ret is set unless there is nothing to
 * forget; forget it before @fd is closed, or give it to f->made.  -ELOOP: it is.
 */
void flow_attempt_begin(struct flow *f);
int flow_attempt_end(struct flow *f, int fd, const struct addr *target, struct own_end **ret);

/* True: it was part of a loop. */
bool flow_attempt_forget(struct flow *f, struct own_end *e);

/* Why there is no server: a dialer has said @error, an -errno. */
enum why flow_why_not_dialled(const struct flow *f, int error);

/* Policy lets the flow go to none of the addresses: end it as @d, from flow_ask_target(), says. */
void flow_refuse_target(struct flow *f, const struct decision *d);

/*
 * For protos.
 */

/**
 * flow_serve_dial() - a server for the next request of a served flow
 *
 * To f->facts.target, or to f->facts.target_name; f->server has been closed or given away.  The
 * proto's dialled() is called with the outcome, perhaps before this returns.
 */
void flow_serve_dial(struct flow *f, const struct plan *plan);

/* The server of the last request has been closed or given away: nothing is left of how it was
 * dialled. */
void flow_forget_server(struct flow *f);

/* The server is there: whoever wants to see what is carried puts its filters into the lanes.  Of a
 * served flow its proto asks.  Return: >= 0, or -errno: the flow must end as WHY_FILTER. */
int flow_intercept(struct flow *f);

/* The server is there: of a name server names are learnt (core/names.h). */
void flow_hear_names(struct flow *f);

/* While learning goes on: read the client's first bytes, look, decide, hand them on. */
void flow_learn(struct flow *f);

/* What a learner waited for, other than bytes, is there: ask it again about what is kept. */
void flow_learn_again(struct flow *f);

/* Give the server what was looked at and may go; forget it when nobody looks any more. */
void flow_hand_on(struct flow *f);

/**
 * flow_upgrade() - change the stacks of a flow that is being relayed
 * @apply:	called when both lanes have stopped reading and written what they held (what a
 *		filter holds goes on behind the mark); may push layers
 *
 * Both lanes stop at the mark: what was read before it still goes through the old layers, what
 * is read after it comes from the new ones.
 */
void flow_upgrade(struct flow *f, void (*apply)(struct flow *f));

#endif
