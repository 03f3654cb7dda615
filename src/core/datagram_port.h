/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DATAGRAM_PORT_H
#define CORE_DATAGRAM_PORT_H

#include "core/datagram_table.h"
#include "sys/udp.h"
#include "sys/udp_raw.h"

/* What datagram.c (clients, entries), datagram_send.c and datagram_upstream.c (servers), and
 * datagram_header.c share. */

/* One family's listening socket. */
struct datagram_arrival {
	struct watch watch;
	struct datagram_port *port;
	struct addr address;
	int fd;
};

/* How often in this second. */
struct datagram_rate {
	uint64_t since_ms;
	uint32_t n;
};

struct datagram_port {
	struct loop *loop;
	struct datagram_config config;
	struct datagram_table table;
	struct datagram_stats stats;
	struct udp_batch *batch;
	struct datagram_arrival arrival[2];
	unsigned int n_between;
	struct datagram_rate refusals, icmp; /* reported, sent */
};

static inline unsigned int datagram_family_index(const struct addr *a)
{
	return a->family == 6;
}

/* A datagram that gets no entry: its sender is told, its owner too, within reason. */
void datagram_refuse(struct datagram_port *p, const struct udp_packet *packet, enum why why);

/* What stands in front of @packet is taken off, into @outer.  False: it is refused, and said so. */
bool datagram_header_take(struct datagram_port *p, struct udp_packet *packet,
			  struct udp_outer *outer);

/* What the header in which @packet came says goes into @facts.  Return: 0 or -ENOMEM. */
int datagram_header_note(const struct udp_packet *packet, struct facts *facts);

/* The header in front of what @e sends, if it tells: PROXY_HEADER_WRITE_CAP bytes of room.
 * Return: its bytes. */
size_t datagram_header_write(const struct datagram_entry *e, uint8_t *out);

/* Send an ICMP error about @packet, which is not passed on. */
void datagram_tell_sender(struct datagram_port *p, const struct udp_packet *packet,
			  enum udp_fault fault);

/* Send what goes through one upstream socket, @entries beside @list.  A send may report an ICMP
 * error that an earlier datagram has caused, so each is tried twice. */
void datagram_send_up(struct datagram_port *p, struct datagram_upstream *u,
		      const struct udp_packet **list, struct datagram_entry **entries,
		      unsigned int n);

/* The server, or who is between, is told with each datagram for whom it is. */
void datagram_send_told(struct datagram_port *p, const struct udp_packet *packet,
			struct datagram_entry *e);

/* Send an ICMP error to a client, and count it. */
void datagram_tell_client(struct datagram_port *p, const struct udp_icmp *icmp);

/* Note why an entry will have ended if nothing comes any more; its idle time follows. */
void datagram_entry_expect(struct datagram_port *p, struct datagram_entry *e, enum why why);

/**
 * datagram_upstream_get() - give @e the socket that @plan asks for, or the next lesser one
 *
 * Of another family than the client's only the host's own address can be had.
 * Return: 0, or -errno: there is none, or none that a strict plan allows; -EOPNOTSUPP: the plan
 * leads through a proxy, which is for connections, and past it it must not go.
 */
int datagram_upstream_get(struct datagram_port *p, struct datagram_entry *e,
			  const struct plan *plan);

/* Close what is @e's alone. */
void datagram_upstream_disown(struct datagram_port *p, struct datagram_entry *e);

/* Tell the client of @u about one error. */
void datagram_upstream_relay_error(struct datagram_port *p, struct datagram_upstream *u,
				   const struct udp_error *error);

/* Read what the network says about earlier datagrams, and tell the client. */
void datagram_upstream_relay_errors(struct datagram_port *p, struct datagram_upstream *u);

void datagram_upstream_close(struct datagram_port *p, struct datagram_upstream *u);

/* Is it one of our own listening sockets, addressed as such? */
bool datagram_is_for_us(const struct datagram_port *p, const struct addr *target);

/* Does what seems to be a new client's come from us?  Then a person is told. */
bool datagram_is_own(struct datagram_port *p, const struct udp_packet *packet);

/* The same of what seems to be one more datagram of @e's client.  Or has an earlier one come back?
 * Then that is for this one to hear, once. */
bool datagram_goes_round(struct datagram_port *p, const struct datagram_entry *e,
			 const struct udp_packet *packet);

/* Has something come back that @u has sent?  Said once for each time. */
bool datagram_has_looped(struct datagram_upstream *u);

/* Datagrams of clients, each with its original destination. */
void datagram_pass_up(struct datagram_port *p, const struct udp_packet *packets, unsigned int n);

/* Is @packet, a reply of @e, to go through a socket of its own?  If so it is there. */
bool datagram_between_use(struct datagram_port *p, struct datagram_entry *e,
			  const struct udp_packet *packet);

/* As udp_send_batch(). */
int datagram_between_send(const struct datagram_entry *e, const struct udp_packet *const *list,
			  unsigned int n);

void datagram_between_close(struct datagram_port *p, struct datagram_entry *e);

#endif
