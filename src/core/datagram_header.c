/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Each datagram may have its own header of the PROXY protocol in front, as
 * name servers and those before them do it: whoever sends a client's queries may send those of
 * many from one port, and a client's from many.  So a session is of one client and one sender;
 * its replies go, without a header, to where its datagrams come from.
 *
 * Outward it is the same: each datagram has a header.  One that goes to somebody between us and
 * the server could not be told apart from what goes to another server by its replies, so such an
 * entry has a socket of its own.
 */
#include "codec/proxy_header.h"
#include "core/datagram_port.h"
#include "core/proxy_facts.h"

bool datagram_header_take(struct datagram_port *p, struct udp_packet *packet,
			  struct udp_outer *outer)
{
	const struct proxy_header_conf *conf = p->config.header;
	struct proxy_header h;
	enum why why = proxy_datagram_parse(conf, &packet->from, packet->payload, &h);

	if (why != WHY_OPEN) {
		datagram_refuse(p, packet, why);
		return false;
	}
	if (!h.bytes)
		return true;
	*outer = (struct udp_outer){ .from = packet->from,
				     .to = packet->to,
				     .head = span_head(packet->payload, h.bytes) };
	packet->outer = outer;
	packet->payload = span_skip(packet->payload, h.bytes);
	if (h.source.family)
		packet->from = h.source;
	if (conf->names_target)
		packet->to = h.destination.family ? h.destination : p->config.to;
	return true;
}

int datagram_header_note(const struct udp_packet *packet, struct facts *facts)
{
	struct proxy_header h;

	if (!packet->outer)
		return 0;
	(void)proxy_header_parse(packet->outer->head, &h); /* it was good before */
	facts->client = packet->outer->from;
	return facts_introduce(facts, &h);
}

size_t datagram_header_write(const struct datagram_entry *e, uint8_t *out)
{
	if (!e->tells)
		return 0;
	return proxy_header_write(out, 2, &e->report.client, &e->report.target, true,
				  span_of(NULL, 0));
}
