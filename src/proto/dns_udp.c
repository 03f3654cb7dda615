/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's desk for DNS, and those who come to it by UDP. */
#include <errno.h>
#include <stdlib.h>

#include "proto/dns_desk.h"
#include "sys/sock.h"

#define BATCHES_PER_EVENT 4

/* One datagram of @c, who may speak for somebody else. */
static void query_take(struct dns_arrival *a, struct dns_client c, struct span query)
{
	const struct proxy_header_conf *conf = a->socket->header;
	struct proxy_header h = { 0 };
	enum why why = conf ? proxy_datagram_parse(conf, &c.from, query, &h) : WHY_OPEN;

	if (why != WHY_OPEN) {
		dns_turn_away(a->desk, &c, why);
		return;
	}
	if (h.bytes)
		c.sender = c.from;
	if (h.source.family)
		c.from = h.source;
	dns_query(a->desk, &c, span_skip(query, h.bytes));
}

static void arrival_take(struct dns_arrival *a, const struct udp_packet *packet)
{
	struct dns_client c = {
		.from = packet->from,
		.to = packet->to,
		.listener = a->socket->listener,
		.listener_name = a->socket->name,
		.socket = a->socket,
	};

	for (size_t i = 0; packet->to.family && i < udp_packet_count(packet); i++)
		query_take(a, c, udp_packet_segment(packet, i).payload);
}

static void arrival_on_ready(struct watch *w, uint32_t ready)
{
	struct dns_arrival *a = container_of(w, struct dns_arrival, watch);
	struct udp_packet packets[UDP_BATCH];

	if (ready & READY_ERR)
		sock_take_error(a->socket->fd);
	for (int turn = 0; turn < BATCHES_PER_EVENT; turn++) {
		int n = udp_recv_batch(a->socket->fd, a->desk->batch, packets);

		for (int i = 0; i < n; i++)
			arrival_take(a, &packets[i]);
		if (n < UDP_BATCH)
			return;
	}
}

int dns_desk_open(struct worker *w, const struct dns_socket *sockets, size_t n)
{
	struct dns_desk *d = NEW0(struct dns_desk);
	int r = 0;

	if (!d)
		return -ENOMEM;
	w->dns = d;
	d->worker = w;
	list_init(&d->asks);
	d->buffer = malloc(DNS_BUFFER_BYTES);
	d->batch = n ? udp_batch_new() : NULL;
	d->arrivals = calloc(n + 1, sizeof(*d->arrivals));
	if (!d->buffer || (n && !d->batch) || !d->arrivals)
		r = -ENOMEM;
	for (; d->n_arrivals < n && !r; d->n_arrivals++) {
		struct dns_arrival *a = &d->arrivals[d->n_arrivals];

		*a = (struct dns_arrival){ .desk = d, .socket = &sockets[d->n_arrivals] };
		a->watch.on_ready = arrival_on_ready;
		r = loop_watch_level(&w->loop, &a->watch, a->socket->fd, true);
		if (r < 0)
			break;
	}
	if (r < 0)
		dns_desk_close(w);
	return r;
}

void dns_desk_close(struct worker *w)
{
	struct dns_desk *d = w->dns;

	if (!d)
		return;
	for (size_t i = 0; i < d->n_arrivals; i++)
		loop_unwatch(&w->loop, &d->arrivals[i].watch, d->arrivals[i].socket->fd);
	while (!list_empty(&d->asks))
		dns_ask_free(list_entry(d->asks.next, struct dns_ask, link));
	udp_batch_free(d->batch);
	free(d->arrivals);
	free(d->buffer);
	free(d);
	w->dns = NULL;
}
