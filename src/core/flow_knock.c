/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  With honest connect a flow begins at the client's SYN, which the kernel
 * holds: the client end has no socket yet.  Policy is asked with what the SYN tells.
 *
 *   accept: the server is dialled; when it is there the SYN is let go (PHASE_AWAIT), the kernel
 *	completes the handshake, and whoever accepts the client brings it here by its addresses.
 *	The connection that answered is the flow's server end: there is no second round trip.
 *   refused, unreachable: the SYN is dropped, and the client is told by RST or by ICMP.
 *   timed out, denied: the SYN is dropped, nobody is told anything.  While a denied flow lasts
 *	(timeouts.deny), SYNs that are sent again belong to it.
 *   open (a name is needed): the SYN is let go at once, and the client learns of the server as
 *	with `connect: early`.
 *
 * SYNs are let go together at the end of the loop's round: their handshakes run within the call
 * that lets them go, and each would wake its client in turn.
 *
 * A client that gives up while it waits cannot be seen: nothing comes when its SYN has been let
 * go, and the flow ends by its timer.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/flow.h"
#include "core/knock.h"
#include "core/worker.h"
#include "sys/ip_raw.h"
#include "sys/nfqueue.h"
#include "sys/sock.h"

void flow_knock_drop(struct knock *k)
{
	if (!k->released)
		knock_verdict(k->queue, k->packet, false);
	free(k);
}

bool flow_awaits_client(const struct flow *f)
{
	return f->knock && !f->knock->arrived;
}

/* The kernel may do the rest of the handshake; the client has as long as a server would have. */
void flow_knock_let_go(struct flow *f)
{
	uint32_t packet;

	f->phase = PHASE_AWAIT;
	flow_set_timer(f, f->snapshot->timeouts.connect_ms);
	if (knock_release(f->worker->realm->knocks, f->knock, &packet))
		nfqueue_accept_later(f->worker->knock_batch, f->knock->queue->fd,
				     f->knock->queue->number, packet);
}

void flow_start_knock(struct worker *w, struct knock *k)
{
	const struct listener *l = k->queue->listener[knock_family_index(&k->client)];
	struct flow *f = w->draining ? NULL : flow_new(w, l, &k->client);

	if (!f) {
		worker_forget_flow(w);
		if (knock_forget(w->realm->knocks, k))
			flow_knock_drop(k);
		return;
	}
	f->knock = k;
	knock_begin(w->realm->knocks, k, f);
	f->facts.target = k->target;
	f->learner = 1; /* the first asks the client's socket what the SYN has told */
	flow_learn_start(f);
	if (f->phase == PHASE_LEARN)
		flow_knock_let_go(f);
}

void flow_knock_accepted(struct knock *k, int fd)
{
	struct flow *f = k->flow;

	if (!f) {
		sock_close_reset(fd);
		flow_knock_drop(k);
		return;
	}
	k->arrived = true;
	if (!k->released) { /* another packet of the client's got through */
		knock_verdict(k->queue, k->packet, false);
		k->released = true;
	}
	f->client.fd = fd;
	f->client.writable = true;
	if (loop_watch(&f->worker->loop, &f->client.watch, fd) < 0)
		flow_close(f, WHY_LIMIT);
	else if (f->phase == PHASE_AWAIT)
		flow_client_came(f);
}

enum knock_answer {
	ANSWER_NOTHING,
	ANSWER_REFUSED,
	ANSWER_UNREACHABLE,
};

static enum knock_answer answer_of(enum why why)
{
	switch (why) {
	case WHY_SERVER_UNREACHABLE:
		return ANSWER_UNREACHABLE;
	case WHY_SERVER_REFUSED:
	case WHY_REJECTED:
	case WHY_NARROWED:
	case WHY_LOOP:
	case WHY_SOURCE:
	case WHY_NO_TARGET:
	case WHY_GREETING:
	case WHY_UNTRUSTED:
	case WHY_LOGIN:
	case WHY_NAME_UNKNOWN:
	case WHY_NAME_FAILED:
	case WHY_PROXY_FAILED:
	case WHY_PROXY_LOGIN:
	case WHY_PROXY_REFUSED:
	case WHY_BIND_REFUSED:
	case WHY_BIND_TIMEOUT:
	case WHY_SERVER_TLS:
	case WHY_FILTER:
	case WHY_INTERNAL:
		return ANSWER_REFUSED;
	case WHY_OPEN:
	case WHY_FINISHED:
	case WHY_CLIENT_RESET:
	case WHY_SERVER_RESET:
	case WHY_CLIENT_LOST:
	case WHY_SERVER_LOST:
	case WHY_CONNECT_TIMEOUT:
	case WHY_CLIENT_GONE:
	case WHY_CLIENT_TLS:
	case WHY_DENIED:
	case WHY_IDLE:
	case WHY_HALF_CLOSED:
	case WHY_LIMIT: /* the client asks again, and then there may be room */
	case WHY_EVICTED:
	case WHY_LOOK_AHEAD:
	case WHY_HELD:
	case WHY_SHUTDOWN: /* or somebody else, after us */
	case WHY_COUNT:
		return ANSWER_NOTHING;
	}
	return ANSWER_NOTHING;
}

static enum ip_unreachable unreachable_of(int error)
{
	switch (-error) {
	case ENETUNREACH:
	case ENONET:
		return IP_UNREACHABLE_NETWORK;
	case EACCES:
	case EPERM:
		return IP_UNREACHABLE_PROHIBITED;
	default:
		return IP_UNREACHABLE_HOST;
	}
}

static void say(const struct flow *f, const struct knock *k)
{
	int fd = k->queue->raw_fd[knock_family_index(&k->client)];
	uint8_t packet[IP_TCP_UNREACHABLE_CAP];
	size_t n = 0;

	switch (answer_of(f->why)) {
	case ANSWER_NOTHING:
		return;
	case ANSWER_REFUSED:
		n = ip_tcp_refuse(&k->syn, packet);
		break;
	case ANSWER_UNREACHABLE:
		n = ip_tcp_unreachable(&k->syn, span_of(k->head, k->syn.head_len),
				       unreachable_of(f->dial_error), packet);
		break;
	}
	(void)ip_raw_send(fd, &k->client, span_of(packet, n));
}

void flow_knock_closed(struct flow *f)
{
	struct knock *k = f->knock;

	f->knock = NULL;
	if (!knock_forget(f->worker->realm->knocks, k)) {
		k->flow = NULL;
		return; /* a client is on its way: flow_knock_accepted() closes it */
	}
	if (!k->released)
		say(f, k);
	flow_knock_drop(k);
}
