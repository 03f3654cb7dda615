/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would go round for ever.  A datagram of limpid's that rules have turned round comes from
 * one of its ports (core/own_ports.h), or, where the client's own ip:port is kept, from what
 * looks like the client: of that it is known where its datagrams come in.  So does what goes to
 * whoever puts headers of the PROXY protocol before what it gets, and sends it here.
 */
#include "core/datagram_port.h"
#include "sys/sock.h"

bool datagram_is_for_us(const struct datagram_port *p, const struct addr *target)
{
	const struct addr *own = &p->arrival[datagram_family_index(target)].address;

	if (target->port != own->port)
		return false;
	return addr_ip_eq(target, own) || (addr_is_unspecified(own) && sock_ip_is_local(target));
}

bool datagram_is_own(struct datagram_port *p, const struct udp_packet *packet)
{
	bool is_named = packet->outer; /* by a header */

	return p->config.own && (!p->config.front || is_named) &&
	       own_ports_came_back(p->config.own, &packet->from, &packet->to, p->config.mark);
}

bool datagram_has_looped(struct datagram_upstream *u)
{
	return u->own && atomic_load(&u->own->looped) && atomic_exchange(&u->own->looped, false);
}

bool datagram_goes_round(struct datagram_port *p, const struct datagram_entry *e,
			 const struct udp_packet *packet)
{
	if (e->upstream && datagram_has_looped(e->upstream))
		return true;
	/* a client of this host is not kept; another does not suddenly come in by lo */
	if (!packet->by_loopback || packet->outer || e->by_loopback || !p->config.own ||
	    !e->upstream || e->report.source != SOURCE_KEEP)
		return false;
	own_ports_tell(p->config.own, &packet->from, &packet->to, p->config.mark);
	return true;
}
