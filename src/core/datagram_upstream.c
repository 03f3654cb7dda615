/* SPDX-License-Identifier: Apache-2.0 */
/* The side of the servers: sockets towards them, their replies, their ICMP errors.  The theory
 * stands in datagram.c. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "codec/proxy_header.h"
#include "core/datagram_port.h"
#include "core/names.h"
#include "core/via.h"
#include "sys/sock.h"

#define BATCHES_PER_EVENT 4
#define ERRORS_PER_EVENT 64
#define DNS_PORT 53

void datagram_upstream_close(struct datagram_port *p, struct datagram_upstream *u)
{
	if (u->fd < 0)
		return;
	own_ports_del(p->config.own, TAKE_PTR(u->own));
	loop_forget(p->loop, &u->watch);
	close(u->fd);
	u->fd = -1;
}

void datagram_upstream_relay_error(struct datagram_port *p, struct datagram_upstream *u,
				   const struct udp_error *error)
{
	struct datagram_session *s = u->session;
	struct datagram_entry *e =
		u->entry ? u->entry : datagram_entry_find(&p->table, s, &error->target);
	struct udp_icmp icmp = { .fault = error->fault,
				 .mtu_bytes = error->mtu_bytes,
				 .client = *datagram_session_peer(s) };
	uint8_t head[PROXY_HEADER_WRITE_CAP];
	size_t head_bytes;

	if (!e || !e->upstream || error->fault == UDP_FAULT_OTHER)
		return;
	head_bytes = datagram_header_write(e, head);
	icmp.target = e->report.target;
	icmp.payload = span_skip(error->payload, head_bytes);
	icmp.mtu_bytes -= icmp.mtu_bytes > head_bytes ? (uint32_t)head_bytes : 0;
	/* Of its ports a host speaks itself; about the way to it, the router does. */
	if (error->fault != UDP_FAULT_PORT && error->router.family == icmp.client.family &&
	    !addr_is_loopback(&error->router))
		icmp.router = error->router;
	datagram_tell_client(p, &icmp);
	if (error->fault == UDP_FAULT_PORT)
		datagram_entry_expect(p, e, datagram_has_looped(u) ? WHY_LOOP : WHY_SERVER_REFUSED);
	else if (error->fault != UDP_FAULT_TOO_BIG)
		datagram_entry_expect(p, e, WHY_SERVER_UNREACHABLE);
}

void datagram_upstream_relay_errors(struct datagram_port *p, struct datagram_upstream *u)
{
	struct udp_error error;

	for (int i = 0; i < ERRORS_PER_EVENT && !udp_recv_error(u->fd, p->batch, &error); i++)
		datagram_upstream_relay_error(p, u, &error);
}

/* Replies on their way to one client. */
struct replies {
	const struct udp_packet *list[UDP_BATCH];
	struct datagram_entry *entries[UDP_BATCH];
	unsigned int n;
	bool between; /* all are of one entry, and go through its own socket */
};

static void count_down(struct datagram_entry *e, const struct udp_packet *packet)
{
	e->report.down.datagrams += udp_packet_count(packet);
	e->report.down.bytes += packet->payload.len;
}

static void drop_down(struct datagram_port *p, struct datagram_entry *e)
{
	e->report.down.dropped++;
	p->stats.down_dropped++;
}

/* To a client who has addressed us, from the socket that it knows. */
static int front_reply(struct datagram_port *p, const struct datagram_session *s,
		       const struct udp_packet *const *list, unsigned int n)
{
	int fd = p->config.listen_fd[datagram_family_index(datagram_session_peer(s))];
	uint8_t heads[UDP_BATCH][DATAGRAM_HEAD_CAP];
	const struct udp_packet *out[UDP_BATCH];
	struct udp_packet packets[UDP_BATCH];
	int r;

	if (!p->config.front->head) { /* it may listen on all addresses, and was sent to one */
		packets[0] = *list[0];
		packets[0].from = s->outer_to;
		r = udp_answer(fd, &packets[0]);
		return r < 0 ? r : 1;
	}
	for (unsigned int i = 0; i < n; i++) {
		size_t bytes = p->config.front->head(p->config.owner, &list[i]->from, heads[i]);

		packets[i] = *list[i];
		packets[i].from = (struct addr){ 0 };
		packets[i].head = span_of(heads[i], bytes);
		out[i] = &packets[i];
	}
	return udp_send_batch(fd, out, n);
}

static void replies_send_between(struct datagram_port *p, const struct datagram_session *s,
				 struct replies *r);

static void replies_send(struct datagram_port *p, const struct datagram_session *s,
			 struct replies *r)
{
	int fd = p->config.reply_fd[datagram_family_index(datagram_session_peer(s))];

	if (r->between) {
		replies_send_between(p, s, r);
		return;
	}
	for (unsigned int i = 0; i < r->n;) {
		int sent = p->config.front ? front_reply(p, s, r->list + i, r->n - i)
					   : udp_reply_batch(fd, r->list + i, r->n - i);

		if (sent < 0)
			drop_down(p, r->entries[i++]);
		for (; sent > 0; sent--, i++)
			count_down(r->entries[i], r->list[i]);
	}
	r->n = 0;
}

static void replies_add(struct datagram_port *p, const struct datagram_session *s,
			struct replies *r, struct datagram_entry *e,
			const struct udp_packet *packet, bool between)
{
	if (r->n == UDP_BATCH ||
	    (r->n && (r->between != between || (between && r->entries[0] != e))))
		replies_send(p, s, r);
	r->between = between;
	r->entries[r->n] = e;
	r->list[r->n++] = packet;
}

/* A train, taken apart. */
static void replies_add_apart(struct datagram_port *p, const struct datagram_session *s,
			      struct replies *r, struct datagram_entry *e,
			      const struct udp_packet *train)
{
	struct udp_packet parts[UDP_BATCH];
	size_t n = udp_packet_count(train);

	replies_send(p, s, r);
	for (size_t i = 0; i < n; i++) {
		parts[i % UDP_BATCH] = udp_packet_segment(train, i);
		replies_add(p, s, r, e, &parts[i % UDP_BATCH], false);
		if (r->n == UDP_BATCH)
			replies_send(p, s, r);
	}
	replies_send(p, s, r);
}

static void replies_send_between(struct datagram_port *p, const struct datagram_session *s,
				 struct replies *r)
{
	struct replies apart = { 0 };

	for (unsigned int i = 0; i < r->n;) {
		int sent = datagram_between_send(r->entries[i], r->list + i, r->n - i);

		for (int k = 0; k < sent; k++)
			count_down(r->entries[i + (unsigned int)k], r->list[i + (unsigned int)k]);
		if (sent > 0) {
			i += (unsigned int)sent;
			continue;
		}
		if (sent == -EAGAIN || sent == -ENOBUFS)
			drop_down(p, r->entries[i]);
		else
			replies_add_apart(p, s, &apart, r->entries[i], r->list[i]);
		i++;
	}
	r->n = 0;
}

/* One reply goes on its way, in its turn. */
static void reply(struct datagram_port *p, const struct datagram_session *s, struct replies *r,
		  struct datagram_entry *e, const struct udp_packet *packet)
{
	bool between = datagram_between_use(p, e, packet);

	if (packet->segment_bytes && !between)
		replies_add_apart(p, s, r, e, packet);
	else
		replies_add(p, s, r, e, packet, between);
}

static void replied(struct datagram_port *p, struct datagram_entry *e)
{
	bool answered = e->report.target.port == DNS_PORT &&
			e->report.down.datagrams >= e->report.up.datagrams;

	datagram_entry_used(&p->table, e, loop_now_ms(p->loop), true);
	datagram_entry_expect(p, e, answered ? WHY_FINISHED : WHY_IDLE);
}

/* Whose reply it is; NULL: nobody's. */
static struct datagram_entry *entry_of(struct datagram_port *p, const struct datagram_upstream *u,
				       struct udp_packet *packet)
{
	struct datagram_entry *e = u->entry;

	if (e) {
		if (!addr_eq(&packet->from, &e->report.via->address))
			return NULL;
		packet->from = e->report.target;
		return e;
	}
	e = datagram_entry_find(&p->table, u->session, &packet->from);
	if (!e)
		e = datagram_entry_find_ip(u->session, &packet->from);
	return e && e->upstream && !e->upstream->entry ? e : NULL;
}

/* Whose owner hears what name servers say. */
static void overhear(struct datagram_port *p, struct datagram_entry *e,
		     const struct udp_packet *packet)
{
	if (packet->from.port != DNS_PORT || !addr_eq(&packet->from, &e->report.target) ||
	    !p->config.ops->replied)
		return;
	for (size_t i = 0; i < udp_packet_count(packet); i++)
		p->config.ops->replied(p->config.owner, &e->questions,
				       names_client(&e->session->client, p->config.inside),
				       udp_packet_segment(packet, i).payload);
}

/* Replies go back to the client. */
static void pass_down(struct datagram_port *p, struct datagram_upstream *u,
		      struct udp_packet *packets, unsigned int n)
{
	struct datagram_session *s = u->session;
	struct datagram_entry *entries[UDP_BATCH];
	struct replies r = { 0 };

	for (unsigned int i = 0; i < n; i++) {
		struct datagram_entry *e = entry_of(p, u, &packets[i]);

		entries[i] = e;
		if (!e) {
			p->stats.strays++;
			continue;
		}
		overhear(p, e, &packets[i]);
		packets[i].to = *datagram_session_peer(s);
		reply(p, s, &r, e, &packets[i]);
	}
	replies_send(p, s, &r);
	for (unsigned int i = 0; i < n; i++)
		if (entries[i])
			replied(p, entries[i]);
}

static void upstream_on_ready(struct watch *w, uint32_t ready)
{
	struct datagram_upstream *u = container_of(w, struct datagram_upstream, watch);
	struct datagram_port *p = u->session->port;
	struct udp_packet packets[UDP_BATCH];

	if (ready & READY_ERR)
		datagram_upstream_relay_errors(p, u);
	for (int turn = 0; turn < BATCHES_PER_EVENT; turn++) {
		int n = udp_recv_batch(u->fd, p->batch, packets);

		if (n > 0)
			pass_down(p, u, packets, (unsigned int)n);
		if (n < UDP_BATCH)
			return;
	}
}

static int upstream_open(struct datagram_port *p, struct datagram_upstream *u, uint8_t family,
			 enum source source)
{
	const struct addr *client = &u->session->client;
	int r;

	/* A client on this host owns its port: a second socket there would take its datagrams. */
	if (source == SOURCE_KEEP && sock_ip_is_local(client))
		return -EADDRINUSE;
	if (source == SOURCE_KEEP && p->config.own) {
		r = own_ports_keep(p->config.own, client, &u->own);
		if (r < 0)
			return r;
	}
	u->watch.on_ready = upstream_on_ready;
	u->fd = udp_upstream(family, source == SOURCE_OWN ? NULL : client, source == SOURCE_KEEP,
			     p->config.mark);
	if (u->fd < 0) {
		r = u->fd;
		u->fd = -1;
		own_ports_del(p->config.own, TAKE_PTR(u->own));
		return r;
	}
	r = loop_watch_level(p->loop, &u->watch, u->fd, false);
	if (!r && p->config.own && source != SOURCE_KEEP)
		r = own_ports_add(p->config.own, u->fd, &u->own);
	if (r < 0)
		datagram_upstream_close(p, u);
	return r;
}

/* From the source that @plan asks for, or the next lesser one. */
static int upstream_open_for(struct datagram_port *p, struct datagram_entry *e, uint8_t family,
			     const struct plan *plan, struct datagram_upstream *own)
{
	struct datagram_session *s = e->session;
	bool foreign = family != s->client.family;
	enum source source = plan->source;

	if (foreign && plan->strict && source != SOURCE_OWN)
		return -EADDRNOTAVAIL;
	if (foreign)
		source = SOURCE_OWN;
	for (;;) {
		struct datagram_upstream *u =
			own ? own : &s->upstream[foreign ? DATAGRAM_SOURCES : source];
		int r = -EADDRINUSE;

		/* a second entry would have the same address and port */
		if (!own || source != SOURCE_KEEP)
			r = u->fd < 0 ? upstream_open(p, u, family, source) : 0;
		if (!r) {
			e->report.source = source;
			e->upstream = u;
		}
		if (!r || source == SOURCE_OWN || plan->strict)
			return r;
		source = source == SOURCE_KEEP ? SOURCE_KEEP_ADDRESS : SOURCE_OWN;
	}
}

/* Towards somebody who is told of the server by a header, as another limpid. */
static int upstream_own(struct datagram_port *p, struct datagram_entry *e, const struct plan *plan)
{
	const struct via *via = plan->via;
	_cleanup_free_ struct datagram_upstream *u = NULL;
	int r;

	if (!via_takes_datagrams(via))
		return -EOPNOTSUPP;
	u = NEW0(struct datagram_upstream);
	if (!u)
		return -ENOMEM;
	u->fd = -1;
	u->session = e->session;
	u->entry = e;
	r = upstream_open_for(p, e, via->address.family, plan, u);
	if (r < 0)
		return r;
	TAKE_PTR(u);
	e->report.via = via;
	e->tells = true;
	return 0;
}

int datagram_upstream_get(struct datagram_port *p, struct datagram_entry *e,
			  const struct plan *plan)
{
	if (plan->via)
		return upstream_own(p, e, plan);
	e->tells = plan->proxy_header == 2; /* version 1 is of streams only */
	return upstream_open_for(p, e, e->report.target.family, plan, NULL);
}

void datagram_upstream_disown(struct datagram_port *p, struct datagram_entry *e)
{
	struct datagram_upstream *u = e->upstream;

	if (!u || !u->entry)
		return;
	datagram_upstream_close(p, u);
	free(u);
	e->upstream = NULL;
}
