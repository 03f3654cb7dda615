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

/* Where replies go back to the client. */
static void pass_down(struct datagram_port *p, struct datagram_session *s,
		      struct udp_packet *packets, unsigned int n)
{
	const struct udp_packet *list[UDP_BATCH];
	struct datagram_entry *entries[UDP_BATCH];
	unsigned int n_list = 0;

	for (unsigned int i = 0; i < n; i++) {
		struct addr *from = &packets[i].from;
		struct datagram_entry *e = datagram_entry_find(&p->table, s, from);

		if (!e)
			e = datagram_entry_find_ip(s, from);
		if (!e || !e->upstream) {
			p->stats.strays++;
			continue;
		}
		packets[i].to = s->client;
		list[n_list] = &packets[i];
		entries[n_list++] = e;
	}
	for (unsigned int i = 0; i < n_list;) {
		int sent = udp_reply_batch(p->config.reply_fd[datagram_family_index(&s->client)],
					   list + i, n_list - i);

		if (sent < 0) {
			entries[i++]->report.down.dropped++;
			p->stats.down_dropped++;
			continue;
		}
		for (; sent; sent--, i++) {
			entries[i]->report.down.datagrams++;
			entries[i]->report.down.bytes += list[i]->payload.len;
		}
	}
	for (unsigned int i = 0; i < n_list; i++) {
		struct datagram_entry *e = entries[i];
		bool answered = e->report.target.port == DNS_PORT &&
				e->report.down.datagrams >= e->report.up.datagrams;

		e->last_ms = loop_now_ms(p->loop);
		datagram_session_used(&p->table, s, e->last_ms);
		datagram_entry_expect(p, e, answered ? WHY_FINISHED : WHY_IDLE);
	}
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

static int upstream_open(struct datagram_port *p, struct datagram_upstream *u, enum source source)
{
	const struct addr *client = &u->session->client;
	int r;

	/* A client on this host owns its port: a second socket there would take its datagrams. */
	if (source == SOURCE_KEEP && sock_ip_is_local(client))
		return -EADDRINUSE;
	u->watch.on_ready = upstream_on_ready;
	u->fd = udp_upstream(client->family, source == SOURCE_OWN ? NULL : client,
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

/* The socket that @plan asks for, or the next lesser one.  Return: 0, or -errno. */
int datagram_upstream_get(struct datagram_port *p, struct datagram_session *s,
			  const struct plan *plan, enum source *ret)
{
	enum source source = plan->source;

	for (;;) {
		int r = s->upstream[source].fd < 0 ? upstream_open(p, &s->upstream[source], source)
						   : 0;

		if (!r)
			*ret = source;
		if (!r || source == SOURCE_OWN || plan->strict)
			return r;
		source = source == SOURCE_KEEP ? SOURCE_KEEP_ADDRESS : SOURCE_OWN;
	}
}
