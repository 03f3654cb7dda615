/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_UDP_RAW_H
#define SYS_UDP_RAW_H

#include "sys/udp.h"

/*
 * Datagrams and ICMP errors that seem to come from somebody else.  One raw socket per family
 * does for all sources: nothing is bound, so nothing collides, and nobody's port is taken.
 * The kernel makes the IP header and fragments; the UDP header is ours.
 */

/**
 * udp_raw_reply() - a raw socket for udp_reply_batch()
 * @family:	4 or 6
 * @mark:	SO_MARK, 0: none
 *
 * Needs CAP_NET_RAW.  Return: the descriptor, which never receives anything, or -errno.
 */
int udp_raw_reply(uint8_t family, uint32_t mark);

/* The same for udp_icmp_send(). */
int udp_raw_icmp(uint8_t family, uint32_t mark);

/* A large send buffer on a raw socket that somebody else made. */
void udp_raw_adopt(int fd);

/**
 * udp_reply_batch() - send each packet's payload from its @from to its @to
 * @n:		1..UDP_BATCH
 *
 * Return: packets sent, > 0 (the next one had an error: call again with the rest), or the
 * -errno of the first.
 */
int udp_reply_batch(int fd, const struct udp_packet *const *packets, unsigned int n);

/**
 * struct udp_icmp - an ICMP error about a datagram, to its sender
 * @fault:	not UDP_FAULT_OTHER
 * @mtu_bytes:	with UDP_FAULT_TOO_BIG: what would fit
 * @router:	who says so; .family 0: @target itself
 * @client:	who had sent the datagram, and is told
 * @target:	where it had gone
 * @payload:	its beginning, as far as known; as much of it is quoted as the RFCs allow
 */
struct udp_icmp {
	enum udp_fault fault;
	uint32_t mtu_bytes;
	struct addr router, client, target;
	struct span payload;
};

/**
 * udp_icmp_send() - send it
 *
 * Nothing is sent where RFC 1122 section 3.2.2 and RFC 4443 section 2.4 forbid an answer:
 * about datagrams to multicast and broadcast addresses.
 *
 * Return: 1 sent, 0 not to be sent, or -errno.
 */
int udp_icmp_send(int fd, const struct udp_icmp *icmp);

#endif
