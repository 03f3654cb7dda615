/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DATAGRAM_PORT_H
#define CORE_DATAGRAM_PORT_H

#include "core/datagram_table.h"
#include "sys/udp.h"
#include "sys/udp_raw.h"

/* What datagram.c (clients, entries) and datagram_upstream.c (servers) share. */

/* One family's listening socket. */
struct datagram_arrival {
	struct watch watch;
	struct datagram_port *port;
	struct addr address;
	int fd;
};

struct datagram_port {
	struct loop *loop;
	struct datagram_config config;
	struct datagram_table table;
	struct datagram_stats stats;
	struct udp_batch *batch;
	struct datagram_arrival arrival[2];
	unsigned int n_between;
	uint64_t refusals_since_ms;
	uint32_t refusals; /* reported in this second */
};

static inline unsigned int datagram_family_index(const struct addr *a)
{
	return a->family == 6;
}

/* Send an ICMP error to a client, and count it. */
void datagram_tell_client(struct datagram_port *p, const struct udp_icmp *icmp);

/* Note why an entry will have ended if nothing comes any more; its idle time follows. */
void datagram_entry_expect(struct datagram_port *p, struct datagram_entry *e, enum why why);

/**
 * datagram_upstream_get() - the socket that @plan asks for, or the next lesser one
 * @family:	of the server; of another than the client's only the host's own address can be had
 * @ret_source:	which it became
 *
 * Return: 0, or -errno: there is none, or none that a strict plan allows.
 */
int datagram_upstream_get(struct datagram_port *p, struct datagram_session *s,
			  uint8_t family, const struct plan *plan, enum source *ret_source,
			  struct datagram_upstream **ret);

/* Tell the client of @u about one error. */
void datagram_upstream_relay_error(struct datagram_port *p, struct datagram_upstream *u,
				   const struct udp_error *error);

/* Read what the network says about earlier datagrams, and tell the client. */
void datagram_upstream_relay_errors(struct datagram_port *p, struct datagram_upstream *u);

void datagram_upstream_close(struct datagram_port *p, struct datagram_upstream *u);

/* Datagrams of clients, each with its original destination. */
void datagram_pass_up(struct datagram_port *p, const struct udp_packet *packets, unsigned int n);

/* Is @packet, a reply of @e, to go through a socket of its own?  If so it is there. */
bool datagram_between_use(struct datagram_port *p, struct datagram_entry *e,
			  const struct udp_packet *packet);

/* Return: 0 or -errno; a train may have to be taken apart, as with udp_send_batch(). */
int datagram_between_send(const struct datagram_entry *e, const struct udp_packet *packet);

void datagram_between_close(struct datagram_port *p, struct datagram_entry *e);

#endif
