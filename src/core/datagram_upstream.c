/* SPDX-License-Identifier: Apache-2.0 */
/* The side of the servers: sockets towards them, their replies, their ICMP errors.  The theory
 * stands in datagram.c. */
#include <errno.h>
#include <unistd.h>

#include "core/datagram_port.h"
#include "sys/sock.h"

#define BATCHES_PER_EVENT 4
#define ERRORS_PER_EVENT 64
#define DNS_PORT 53

void datagram_upstream_close(struct datagram_port *p, struct datagram_upstream *u)
{
	if (u->fd < 0)
		return;
	loop_forget(p->loop, &u->watch);
	close(u->fd);
	u->fd = -1;
}

void datagram_upstream_relay_error(struct datagram_port *p, struct datagram_upstream *u,
				   const struct udp_error *error)
{
	struct datagram_session *s = u->session;
	struct datagram_entry *e = datagram_entry_find(&p->table, s, &error->target);
	struct udp_icmp icmp = { .fault = error->fault,
				 .mtu_bytes = error->mtu_bytes,
				 .client = s->client,
				 .target = error->target,
				 .payload = error->payload };

	if (!e || !e->upstream || error->fault == UDP_FAULT_OTHER)
		return;
	/* Of its ports a host speaks itself; about the way to it, the router does. */
	if (error->fault != UDP_FAULT_PORT && error->router.family == s->client.family &&
	    !addr_is_loopback(&error->router))
		icmp.router = error->router;
	datagram_tell_client(p, &icmp);
	if (error->fault == UDP_FAULT_PORT)
		datagram_entry_expect(p, e, WHY_SERVER_REFUSED);
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
	int fd = p->config.listen_fd[datagram_family_index(&s->client)];
	uint8_t heads[UDP_BATCH][DATAGRAM_HEAD_CAP];
	const struct udp_packet *out[UDP_BATCH];
	struct udp_packet packets[UDP_BATCH];

	for (unsigned int i = 0; i < n; i++) {
		size_t bytes = p->config.front->head(p->config.owner, &list[i]->from, heads[i]);

		packets[i] = *list[i];
		packets[i].from = (struct addr){ 0 };
		packets[i].head = span_of(heads[i], bytes);
		out[i] = &packets[i];
	}
	return udp_send_batch(fd, out, n);
}

static void replies_send(struct datagram_port *p, const struct datagram_session *s,
			 struct replies *r)
{
	int fd = p->config.reply_fd[datagram_family_index(&s->client)];

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
			const struct udp_packet *packet)
{
	if (r->n == UDP_BATCH)
		replies_send(p, s, r);
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
		replies_add(p, s, r, e, &parts[i % UDP_BATCH]);
		if (r->n == UDP_BATCH)
			replies_send(p, s, r);
	}
	replies_send(p, s, r);
}

/* One reply goes on its way, in its turn. */
static void reply(struct datagram_port *p, const struct datagram_session *s, struct replies *r,
		  struct datagram_entry *e, const struct udp_packet *packet)
{
	int error = -ENOENT;

	if (datagram_between_use(p, e, packet)) {
		replies_send(p, s, r);
		error = datagram_between_send(e, packet);
		if (!error)
			count_down(e, packet);
	}
	if (error == -EAGAIN || error == -ENOBUFS)
		drop_down(p, e);
	else if (error && packet->segment_bytes)
		replies_add_apart(p, s, r, e, packet);
	else if (error)
		replies_add(p, s, r, e, packet);
}

static void replied(struct datagram_port *p, struct datagram_entry *e)
{
	bool answered = e->report.target.port == DNS_PORT &&
			e->report.down.datagrams >= e->report.up.datagrams;

	e->last_ms = loop_now_ms(p->loop);
	datagram_session_used(&p->table, e->session, e->last_ms, true);
	datagram_entry_expect(p, e, answered ? WHY_FINISHED : WHY_IDLE);
}

/* Replies go back to the client. */
static void pass_down(struct datagram_port *p, struct datagram_session *s,
		      struct udp_packet *packets, unsigned int n)
{
	struct datagram_entry *entries[UDP_BATCH];
	struct replies r = { 0 };

	for (unsigned int i = 0; i < n; i++) {
		const struct addr *from = &packets[i].from;
		struct datagram_entry *e = datagram_entry_find(&p->table, s, from);

		if (!e)
			e = datagram_entry_find_ip(s, from);
		if (e && !e->upstream)
			e = NULL;
		entries[i] = e;
		if (!e) {
			p->stats.strays++;
			continue;
		}
		if (from->port == DNS_PORT && addr_eq(from, &e->report.target) &&
		    p->config.ops->replied)
			p->config.ops->replied(p->config.owner, &s->client, packets[i].payload);
		packets[i].to = s->client;
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
			pass_down(p, u->session, packets, (unsigned int)n);
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
	u->watch.on_ready = upstream_on_ready;
	u->fd = udp_upstream(family, source == SOURCE_OWN ? NULL : client,
			     source == SOURCE_KEEP, p->config.mark);
	if (u->fd < 0) {
		r = u->fd;
		u->fd = -1;
		return r;
	}
	r = loop_watch_level(p->loop, &u->watch, u->fd, false);
	if (r < 0)
		datagram_upstream_close(p, u);
	return r;
}

int datagram_upstream_get(struct datagram_port *p, struct datagram_session *s, uint8_t family,
			  const struct plan *plan, enum source *ret_source,
			  struct datagram_upstream **ret)
{
	bool foreign = family != s->client.family;
	enum source source = plan->source;

	if (foreign && plan->strict && source != SOURCE_OWN)
		return -EADDRNOTAVAIL;
	if (foreign)
		source = SOURCE_OWN;
	for (;;) {
		struct datagram_upstream *u = &s->upstream[foreign ? DATAGRAM_SOURCES : source];
		int r = u->fd < 0 ? upstream_open(p, u, family, source) : 0;

		if (!r) {
			*ret_source = source;
			*ret = u;
		}
		if (!r || source == SOURCE_OWN || plan->strict)
			return r;
		source = source == SOURCE_KEEP ? SOURCE_KEEP_ADDRESS : SOURCE_OWN;
	}
}
