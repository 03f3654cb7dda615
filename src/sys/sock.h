/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_SOCK_H
#define SYS_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"

struct socket_maker;

/*
 * TCP sockets as limpid needs them.  All are non-blocking and close-on-exec; functions that
 * make one return the descriptor or -errno.
 *
 * Connections, accepted or made, are set in advance to end in RST when they are closed
 * (SO_LINGER 0): were limpid killed, a FIN would tell the other side that it has everything.
 * Only sock_close_orderly() ends one in FIN.
 */

int sock_tcp(uint8_t family); /* a socket with nothing set */

/**
 * sock_listen_tcp() - a listening socket on exactly @a
 * @transparent: accept connections to any address (IP_TRANSPARENT; needs CAP_NET_ADMIN or
 *		CAP_NET_RAW)
 * @mark:	SO_MARK, inherited by what is accepted; 0: none
 *
 * TCP_NODELAY, SO_LINGER and SO_MARK are set here because accepted sockets inherit them for free.
 */
int sock_listen_tcp(const struct addr *a, bool transparent, uint32_t mark);

/* The same options on a listening socket that somebody else made.  Return: 0 or -errno. */
int sock_adopt_listener(int fd);

/* How many connections may wait at a listening socket from now on.  Return: 0 or -errno. */
int sock_set_backlog(int listen_fd, unsigned int count);

/* Milliseconds since data came, or since the connection was made (TCP_INFO).  Return: or -errno. */
int64_t sock_silent_ms(int fd);

/* Milliseconds since bytes of ours left, for the first time or again; those that a peer without
 * room has not been sent wait.  Return: or -errno. */
int64_t sock_sent_ms(int fd);

/* Return: the accepted descriptor, -EAGAIN, or another -errno. */
int sock_accept(int listen_fd, struct addr *ret_client);

/* The local address: under TPROXY, what the client dialled. */
int sock_local(int fd, struct addr *ret);

/**
 * sock_came_by_loopback() - did the connection of an accepted socket begin on this host?
 *
 * Its SYN came in through the loopback interface, as all do that rules turn round on their way
 * out.  True also where the kernel does not say.  Source: tcp_v4_syn_recv_sock() and
 * tcp_v6_syn_recv_sock() keep the interface where multicast options are.
 */
bool sock_came_by_loopback(int fd, uint8_t family);

/* What the client dialled before REDIRECT or DNAT: SO_ORIGINAL_DST of conntrack. */
int sock_original_target(int fd, uint8_t family, struct addr *ret);

#define SOCK_KEEP_PORT 1u
#define SOCK_SPEAK_FIRST 2u

/**
 * sock_connect() - begin to connect
 * @target:	where to
 * @source:	address to bind to, NULL: the host's choice.  May be foreign (IP_TRANSPARENT)
 * @how:	SOCK_KEEP_PORT: bind to the port of @source, too; SOCK_SPEAK_FIRST: bytes follow
 *		as soon as it is connected, and the last ACK of the handshake waits for them (for
 *		200 ms at most, net/ipv4/tcp_input.c: tcp_rcv_synsent_state_process()).  Without
 *		TCP_NODELAY: sock_no_delay() before the second write; sock_ack_at_once() after
 *		the first
 * @mark:	SO_MARK, 0: none
 * @maker:	makes the socket; NULL: this process does
 *
 * With SOCK_KEEP_PORT a TIME_WAIT of the same 4-tuple is taken over where both sides use
 * timestamps (net/ipv4/inet_hashtables.c).  Return: the descriptor (connecting, or connected
 * already), -EADDRNOTAVAIL or -EADDRINUSE if @source cannot be had, -EPERM if a foreign
 * @source is not permitted, or another -errno of connect(2).
 */
int sock_connect(const struct addr *target, const struct addr *source, unsigned int how,
		 uint32_t mark, struct socket_maker *maker);

/* The connection is there: from now on ICMPv6 is a hint only, as it is for ICMP. */
void sock_connected(int fd, uint8_t family);

ssize_t sock_recv(int fd, void *dst, size_t cap_bytes); /* bytes, 0 at the end, -errno */
ssize_t sock_send(int fd, const void *src, size_t len_bytes);
void sock_no_delay(int fd);	     /* small writes wait for nothing (TCP_NODELAY) */
/* ACKs wait for nothing, until requests and answers alternate (TCP_QUICKACK).  One that is owed
 * is sent now: call it when the last bytes have just been written. */
void sock_ack_at_once(int fd);
void sock_inline_urgent(int fd); /* urgent bytes are read in their place (SO_OOBINLINE) */
int sock_finish(int fd);	 /* shutdown(SHUT_WR).  Return: 0 or -errno */
int sock_take_error(int fd);	 /* SO_ERROR as -errno; clears it */
int sock_unsent_bytes(int fd);	 /* not yet acknowledged by the peer (SIOCOUTQ), or -errno */
void sock_close_orderly(int fd); /* what was written is still sent, then FIN */
void sock_close_reset(int fd);	 /* RST */

/* May this process give its packets @mark? */
bool sock_may_mark(uint32_t mark);

/* Does @a's ip belong to this host (this network namespace)?  Asked by bind(2). */
bool sock_ip_is_local(const struct addr *a);

/* @a as the C library knows it. */
struct sockaddr_storage;
void sock_store_addr(struct sockaddr_storage *ret, const struct addr *a);

/* SO_MARK of a socket that somebody else made.  Return: 0 or -errno. */
int sock_mark(int fd, uint32_t mark);

/* Raise the soft limit of descriptors to the hard one.  Return: the limit. */
size_t sock_raise_descriptor_limit(void);

#endif
