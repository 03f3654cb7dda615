/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  UDP ASSOCIATE (RFC 1928 sections 6 and 7).  An association is a datagram
 * port (core/datagram.c) with one client, who addresses it: each of its datagrams says in a
 * header where to, and each reply says in one where from.  Sessions, entries, policy, idle times
 * and records are the port's, as they are for datagrams that are intercepted.
 *
 * The port's socket is bound to the address at which the client has reached us by TCP, and takes
 * datagrams from the client's ip only: from the port that it has announced, or else from the one
 * that sends the first good datagram.  All others are strangers and not answered.  (If it has
 * announced another ip than the one we see, there is a translation on the way, and its port means
 * nothing to us either.)  Fragments are dropped, as section 7 allows.
 *
 * It lives as long as its connection, on which nothing more is said, or until nothing has passed
 * for timeouts.idle.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/socks.h"
#include "core/datagram.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/via.h"
#include "core/worker.h"
#include "proto/associate.h"
#include "proto/associate_names.h"
#include "sys/sock.h"
#include "sys/udp.h"

/**
 * struct association - f->proto_state
 * @client:	who may send; .port 0: not known yet
 */
struct association {
	struct flow *flow;
	struct datagram_port *port;
	struct addr client;
	struct associate_names names;
};

static struct association *association_of(struct associate_names *names)
{
	return container_of(names, struct association, names);
}

/* ---- the client's side of the port ---- */

static bool is_client(const struct association *a, const struct addr *from)
{
	return addr_ip_eq(from, &a->client) && (!a->client.port || a->client.port == from->port);
}

static bool take(void *owner, struct udp_packet *packet)
{
	struct association *a = owner;
	struct socks_datagram d;

	if (!is_client(a, &packet->from) ||
	    socks_datagram_parse(packet->payload, &d) != CODEC_DONE || d.fragment)
		return false;
	if (!d.address.port || (!*d.name && addr_is_unspecified(&d.address)))
		return false;
	a->client.port = packet->from.port;
	a->flow->active_ms = loop_now_ms(&a->flow->worker->loop);
	packet->payload = span_skip(packet->payload, d.bytes);
	packet->to = d.address;
	return !*d.name || associate_names_resolve(&a->names, d.name, packet);
}

static size_t head(void *owner, const struct addr *from, uint8_t out[static DATAGRAM_HEAD_CAP])
{
	struct association *a = owner;

	a->flow->active_ms = loop_now_ms(&a->flow->worker->loop);
	return socks_datagram_write(out, from);
}

static const struct datagram_front front = { .take = take, .head = head };

/* ---- policy and records ---- */

static int facts_fill(const struct association *a, const char *name, struct facts *facts)
{
	const struct flow *f = a->flow;

	facts->host = name ? text_dup(span_str(name)) : NULL;
	facts->user = f->facts.user ? text_dup(span_str(f->facts.user)) : NULL;
	return (name && !facts->host) || (f->facts.user && !facts->user) ? -ENOMEM : 0;
}

static void decide(void *owner, struct facts *facts, struct span first, struct decision *ret)
{
	struct association *a = owner;
	struct worker *w = a->flow->worker;

	/* without memory nothing is decided, which denies it */
	if (facts_fill(a, associate_names_of(&a->names, &facts->target), facts) == 0)
		w->realm->parts.datagrams->decide(w, facts, first, ret);
}

static void asked(void *owner, struct questions *q, struct span payload)
{
	struct worker *w = ((struct association *)owner)->flow->worker;

	w->realm->parts.datagrams->asked(w, q, payload);
}

static void replied(void *owner, struct questions *q, const struct addr *client,
		    struct span payload)
{
	struct worker *w = ((struct association *)owner)->flow->worker;

	w->realm->parts.datagrams->replied(w, q, client, payload);
}

static void ended(void *owner, const struct datagram_report *report)
{
	struct association *a = owner;
	struct worker *w = a->flow->worker;
	struct datagram_report ours = *report;

	ours.user = a->flow->facts.user;
	ours.asked = associate_names_of(&a->names, &report->target);
	w->realm->parts.datagrams->ended(w, &ours);
}

static const struct datagram_ops datagram_ops = {
	.decide = decide,
	.asked = asked,
	.replied = replied,
	.ended = ended,
};

static bool may(struct associate_names *names, const char *name, const struct addr *to)
{
	struct association *a = association_of(names);
	struct facts facts = {
		.network = NETWORK_UDP,
		.listener = a->flow->listener->index,
		.settled = true,
		.client = a->client,
		.target = *to,
	};
	struct decision d = { 0 };

	if (facts_fill(a, name, &facts) == 0)
		policy_decide(names->worker->realm->snapshot->policy, &facts, &d);
	facts_done(&facts);
	return d.final && d.verdict == VERDICT_ACCEPT;
}

/* Can it be said without an address? */
static bool refused(struct associate_names *names, const char *name, uint16_t port)
{
	struct association *a = association_of(names);
	struct worker *w = names->worker;
	struct datagram_report report = {
		.client = a->client,
		.target = { .port = port },
		.listener = a->flow->listener->name,
		.user = a->flow->facts.user,
		.asked = name,
	};
	struct facts facts = {
		.network = NETWORK_UDP,
		.listener = a->flow->listener->index,
		.settled = true,
		.client = a->client,
		.target = report.target,
		.target_name = text_dup(span_str(name)),
	};
	struct decision d = { 0 };
	enum why why = WHY_OPEN;

	if (facts.target_name && facts_fill(a, name, &facts) == 0)
		policy_decide(w->realm->snapshot->policy, &facts, &d);
	if (d.final && d.verdict != VERDICT_ACCEPT)
		why = d.verdict == VERDICT_DENY ? WHY_DENIED : WHY_REJECTED;
	else if (d.final && d.plan.via && !via_takes_datagrams(d.plan.via))
		why = WHY_PROXY_REFUSED;
	if (why != WHY_OPEN) {
		w->realm->parts.datagrams->decide(w, &facts, span_of(NULL, 0), &d);
		report.rule = d.rule;
		report.verdict = d.verdict;
		report.why = why;
		w->realm->parts.datagrams->ended(w, &report);
	}
	facts_done(&facts);
	return why != WHY_OPEN;
}

static void send_kept(struct associate_names *names, const struct udp_packet *packet)
{
	datagram_port_send(association_of(names)->port, packet);
}

static void name_failed(struct associate_names *names, const char *name, uint16_t port,
			enum why why)
{
	struct association *a = association_of(names);
	struct datagram_report report = {
		.client = a->client,
		.target = { .port = port },
		.listener = a->flow->listener->name,
		.host = (char *)name,
		.verdict = VERDICT_ACCEPT,
		.why = why,
	};

	ended(a, &report);
}

/* ---- the life of an association ---- */

static int port_open(struct association *a, int fd)
{
	const struct snapshot *s = a->flow->snapshot;
	struct datagram_config config = {
		.listen_fd = { -1, -1 },
		.reply_fd = { -1, -1 },
		.icmp_fd = { -1, -1 },
		.listener = a->flow->listener->index,
		.name = a->flow->listener->name,
		.mark = s->mark,
		.front = &front,
		.own = a->flow->worker->realm->own_ports,
		.batch = worker_udp_batch(a->flow->worker),
		.limits = { .sessions = 1, .sessions_per_client = 1 },
		.idle = { .dns_ms = s->timeouts.dns_ms,
			  .quic_ms = s->timeouts.quic_ms,
			  .other_ms = s->timeouts.udp_ms },
		.ops = &datagram_ops,
		.owner = a,
	};

	if (!config.batch)
		return -ENOMEM;
	config.listen_fd[a->client.family == 6] = fd;
	return datagram_port_new(&a->flow->worker->loop, &config, &a->port);
}

/* Return: 0 with the address to which the client is to send, or -errno. */
static int association_new(struct flow *f, struct addr *ret)
{
	const struct addr announced = f->facts.target;
	struct association *a;
	int fd, r;

	r = sock_local(f->client.fd, ret);
	if (r < 0)
		return r;
	ret->port = 0;
	a = NEW0(struct association);
	if (!a)
		return -ENOMEM;
	f->proto_state = a;
	a->flow = f;
	a->client = f->facts.client;
	a->client.port = 0;
	if (addr_is_unspecified(&announced) || addr_ip_eq(&announced, &a->client))
		a->client.port = announced.port;
	associate_names_init(&a->names, f->worker);
	a->names.may = may;
	a->names.refused = refused;
	a->names.send = send_kept;
	a->names.failed = name_failed;
	fd = udp_relay(ret, f->snapshot->mark);
	if (fd < 0)
		return fd;
	r = sock_local(fd, ret);
	if (!r)
		r = port_open(a, fd);
	if (r < 0)
		close(fd);
	return r;
}

static void associate_open(struct flow *f)
{
	uint8_t out[SOCKS_REPLY_MAX_BYTES];
	struct addr bound = { 0 };
	int r = association_new(f, &bound);

	if (r < 0)
		bound = (struct addr){ 0 };
	f->facts.target = bound;
	if (flow_reply(f, span_of(out, socks5_reply_write(out, r < 0 ? SOCKS_FAILED : SOCKS_OK,
							  &bound))) < 0)
		flow_close(f, WHY_CLIENT_RESET);
	else if (r < 0)
		flow_farewell(f, WHY_LIMIT);
	else
		flow_set_timer(f, f->snapshot->timeouts.idle_ms);
}

/* What the client says on the connection is not for anybody; that it ends is. */
static void associate_relay(struct flow *f)
{
	struct lane_tools *t = &f->worker->tools;
	int error = 0;
	ssize_t n = -EAGAIN;

	if (flow_is_over(f))
		return;
	if (lane_pump(&f->down, t, 0, &error) == LANE_WRITE_FAILED) {
		flow_close(f, WHY_CLIENT_RESET);
		return;
	}
	while (end_can_read(&f->client)) {
		n = stream_read(f->client.top, t->buffer, t->buffer_bytes);
		if (n <= 0)
			break;
	}
	if (!n)
		flow_close(f, WHY_FINISHED);
	else if (n < 0 && n != -EAGAIN)
		flow_close(f, n == -ETIMEDOUT ? WHY_CLIENT_LOST : WHY_CLIENT_RESET);
}

static void associate_timeout(struct flow *f)
{
	uint64_t quiet_ms = loop_now_ms(&f->worker->loop) - f->active_ms;

	if (quiet_ms >= f->snapshot->timeouts.idle_ms)
		flow_close(f, WHY_IDLE);
	else
		flow_set_timer(f, (uint32_t)(f->snapshot->timeouts.idle_ms - quiet_ms));
}

static void associate_forget(struct flow *f)
{
	struct association *a = f->proto_state;

	if (!a)
		return;
	f->proto_state = NULL;
	if (a->port)
		datagram_port_end(a->port, f->why);
	associate_names_done(&a->names);
	free(a);
}

const struct proto_ops associate_proto_ops = {
	.name = "associate",
	.open = associate_open,
	.relay = associate_relay,
	.timeout = associate_timeout,
	.forget = associate_forget,
};
