/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_UDP_H
#define SYS_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"

/*
 * UDP sockets as limpid needs them.  All are non-blocking and close-on-exec; functions that
 * make one return the descriptor or -errno.  What is sent with a foreign source address goes
 * through raw sockets: udp_raw.h.
 */

struct socket_maker;

/* Datagrams handled by one system call. */
#define UDP_BATCH 16

/* What a datagram came in, where a reader has taken it out: @head was in front of its payload. */
struct udp_outer {
	struct addr from, to;
	struct span head;
};

/**
 * struct udp_packet - one datagram
 * @from:	who sent it
 * @to:		received on a listening socket: the original destination; from an upstream
 *		socket: not set; to be sent: where to
 * @payload:	may be empty.  Received: valid until the batch is next used
 * @tos:	DSCP and ECN: IPv4 TOS, IPv6 traffic class
 * @head:	to be sent in front of the payload, in the same datagram
 * @outer:	received: what it came in, which is not what it says; NULL: it says all
 * @by_loopback: received on a listening socket: it came in by lo
 * @segment_bytes: the payload is a train of datagrams of this size, of which the last may be
 *		smaller (GRO); 0: it is one
 */
struct udp_packet {
	struct addr from, to;
	struct span payload;
	struct span head;
	const struct udp_outer *outer;
	uint8_t tos;
	bool by_loopback;
	uint16_t segment_bytes;
};

/* Datagrams in it. */
static inline size_t udp_packet_count(const struct udp_packet *p)
{
	return p->segment_bytes ? (p->payload.len + p->segment_bytes - 1) / p->segment_bytes : 1;
}

/* The @i-th of them, as a packet of its own. */
struct udp_packet udp_packet_segment(const struct udp_packet *p, size_t i);

/* Room for UDP_BATCH datagrams of any size; one per thread is enough.  NULL: no memory. */
struct udp_batch;
struct udp_batch *udp_batch_new(void);
void udp_batch_free(struct udp_batch *b);

/* A socket that is nothing else yet; of IPv6, for IPv6 only. */
int udp_plain(uint8_t family);

/**
 * udp_listen() - a socket bound to exactly @a that tells original destinations
 * @transparent: take datagrams to any address (IP_TRANSPARENT; needs CAP_NET_ADMIN or
 *		CAP_NET_RAW)
 * @mark:	SO_MARK, 0: none
 */
int udp_listen(const struct addr *a, bool transparent, uint32_t mark);

/* No trains from this socket: each datagram is a packet. */
void udp_apart(int fd);

/* The same options, and a large buffer, on a socket that somebody else made. */
int udp_adopt_listener(int fd, uint8_t family);

/**
 * udp_upstream() - an unconnected socket towards servers, reporting their ICMP errors
 * @family:	4 or 6
 * @source:	address to bind to, NULL: the host's choice.  May be foreign (IP_TRANSPARENT)
 * @keep_port:	bind to the port of @source too
 * @mark:	SO_MARK, 0: none
 *
 * Where the mark is not permitted the socket goes without: who may not mark may not intercept
 * in this network namespace either, so the socket cannot come back to us.
 *
 * Return: the descriptor, -EADDRNOTAVAIL or -EADDRINUSE if @source cannot be had, -EPERM if a
 * foreign @source is not permitted, or another -errno.
 */
int udp_upstream(uint8_t family, const struct addr *source, bool keep_port, uint32_t mark);

/* An ordinary socket, bound to exactly @a: for clients who address it.  Trains come apart. */
int udp_relay(const struct addr *a, uint32_t mark);

/**
 * udp_between() - a connected socket that speaks to @to as if it were @from
 * @from:	foreign: needs IP_TRANSPARENT
 *
 * Return: the descriptor, -EADDRINUSE if somebody has @from, or another -errno.
 */
int udp_between(const struct addr *from, const struct addr *to, uint32_t mark);

/**
 * udp_connected() - a socket that sends to @to and takes datagrams from nobody else
 *
 * @maker:	makes the socket; NULL: it is made here
 *
 * From a port that the kernel chooses at random.  Errors of the network come with the next call.
 */
int udp_connected(const struct addr *to, uint32_t mark, struct socket_maker *maker);

/**
 * udp_answer() - send @p->payload to @p->to from the ip of @p->from, one that @fd is bound to
 *
 * Return: 0 or -errno.
 */
int udp_answer(int fd, const struct udp_packet *p);

/**
 * udp_recv_batch() - read what is there
 *
 * Datagrams of any size arrive whole; trains of them, where the network has kept them together,
 * as one packet.  Return: packets, > 0; -EAGAIN; or another -errno,
 * among them pending ICMP errors of upstream sockets (then see udp_recv_error()).
 */
int udp_recv_batch(int fd, struct udp_batch *b, struct udp_packet ret[static UDP_BATCH]);

/**
 * udp_send_batch() - send each packet's payload to its @to
 * @n:		1..UDP_BATCH
 *
 * A train goes as one where the way to the server can (else -EINVAL, -EMSGSIZE or -EIO: send its
 * segments one by one).  Consecutive datagrams of one size to the same place go as a train, too;
 * where that fails they are sent one by one here.  On a connected socket @to may be unset.
 *
 * Return: packets sent, > 0 (the next one had an error: call again with the rest), or the
 * -errno of the first.
 */
int udp_send_batch(int fd, const struct udp_packet *const *packets, unsigned int n);

/**
 * udp_send_fragmented() - send what is larger than the path takes in one piece
 *
 * Sockets of udp_upstream() otherwise refuse it with -EMSGSIZE, and udp_recv_error() then has
 * the MTU.  Return: 0 or -errno.
 */
int udp_send_fragmented(int fd, const struct udp_packet *packet);

/* What the network says about a datagram that it did not deliver. */
enum udp_fault {
	UDP_FAULT_OTHER, /* nothing that a client could be told */
	UDP_FAULT_PORT,
	UDP_FAULT_HOST,
	UDP_FAULT_NETWORK,
	UDP_FAULT_PROHIBITED,
	UDP_FAULT_HOPS, /* it went round, or too far */
	UDP_FAULT_TOO_BIG,
};

/**
 * struct udp_error - an ICMP error that came for a socket
 * @target:	where the datagram had gone
 * @router:	who says so; .family 0: this host
 * @mtu_bytes:	with UDP_FAULT_TOO_BIG
 * @payload:	as much of the datagram as the ICMP message quotes; valid until the batch is
 *		next used
 */
struct udp_error {
	enum udp_fault fault;
	struct addr target, router;
	uint32_t mtu_bytes;
	struct span payload;
};

/**
 * udp_recv_error() - take one error from the socket's error queue
 *
 * Return: 0, or -EAGAIN when there is none (the socket's own pending error is then cleared,
 * too).  Source: ip(7), IP_RECVERR.
 */
int udp_recv_error(int fd, struct udp_batch *b, struct udp_error *ret);

/* The fault that an errno of a send stands for. */
enum udp_fault udp_fault_of_errno(int error);

#endif
