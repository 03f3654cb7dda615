/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams on their way to servers.  The theory stands in datagram.c. */
#include <errno.h>

#include "codec/proxy_header.h"
#include "core/datagram_port.h"
#include "core/via.h"

#define LINK_MTU 1500

/*
 * A datagram larger than the way to the server.  Whether its sender allowed fragments cannot be
 * seen; one that fits the usual link did not need them, so it is told what would fit, as a
 * router does.  In either case the datagram arrives.
 */
static int send_too_big(struct datagram_port *p, struct datagram_upstream *u,
			const struct udp_packet *packet)
{
	size_t headers = packet->to.family == 4 ? 20 + 8 : 40 + 8;
	struct udp_error error;

	while (!udp_recv_error(u->fd, p->batch, &error)) {
		if (!error.router.family) { /* IPv4 names no port here (ip_local_error()) */
			error.target = packet->to;
			if (packet->head.len + packet->payload.len + headers > LINK_MTU)
				continue;
		}
		datagram_upstream_relay_error(p, u, &error);
	}
	return udp_send_fragmented(u->fd, packet);
}

/* A datagram that the kernel would not send. */
static void drop_up(struct datagram_port *p, struct datagram_entry *e,
		    const struct udp_packet *packet, int error)
{
	enum udp_fault fault = udp_fault_of_errno(error);
	struct udp_packet asked = *packet;

	asked.to = e->report.target;
	e->report.up.dropped++;
	p->stats.up_dropped++;
	if (fault == UDP_FAULT_OTHER || fault == UDP_FAULT_TOO_BIG)
		return;
	datagram_tell_sender(p, &asked, fault);
	datagram_entry_expect(
		p, e, fault == UDP_FAULT_PORT ? WHY_SERVER_REFUSED : WHY_SERVER_UNREACHABLE);
}

/* A train that the way to the server does not take as one. */
static void send_apart(struct datagram_port *p, struct datagram_upstream *u,
		       const struct udp_packet *train, struct datagram_entry *e)
{
	for (size_t i = 0; i < udp_packet_count(train); i++) {
		struct udp_packet one = udp_packet_segment(train, i);
		const struct udp_packet *list = &one;

		datagram_send_up(p, u, &list, &e, 1);
	}
}

void datagram_send_up(struct datagram_port *p, struct datagram_upstream *u,
		      const struct udp_packet **list, struct datagram_entry **entries,
		      unsigned int n)
{
	bool retried = false;

	for (unsigned int i = 0; i < n;) {
		int sent = udp_send_batch(u->fd, list + i, n - i);

		if (sent < 0 && sent != -EMSGSIZE && !retried) {
			datagram_upstream_relay_errors(p, u);
			retried = true;
			continue;
		}
		retried = false;
		if (sent < 0 && list[i]->segment_bytes) {
			send_apart(p, u, list[i], entries[i]);
			i++;
			continue;
		}
		if (sent == -EMSGSIZE) {
			sent = send_too_big(p, u, list[i]);
			sent = sent < 0 ? sent : 1;
		}
		if (sent < 0) {
			drop_up(p, entries[i], list[i], -sent);
			i++;
			continue;
		}
		for (; sent; sent--, i++) {
			entries[i]->report.up.datagrams += udp_packet_count(list[i]);
			entries[i]->report.up.bytes += list[i]->payload.len;
			if (entries[i]->report.why == WHY_FINISHED)
				datagram_entry_expect(p, entries[i], WHY_IDLE);
		}
	}
}

void datagram_send_told(struct datagram_port *p, const struct udp_packet *packet,
			struct datagram_entry *e)
{
	uint8_t head[PROXY_HEADER_WRITE_CAP];
	size_t head_bytes = datagram_header_write(e, head);

	for (size_t i = 0; i < udp_packet_count(packet); i++) {
		struct udp_packet one = udp_packet_segment(packet, i);
		const struct udp_packet *list = &one;

		one.head = span_of(head, head_bytes);
		if (e->report.via)
			one.to = e->report.via->address;
		datagram_send_up(p, e->upstream, &list, &e, 1);
	}
}
