/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_SOCKET_MAKER_H
#define SYS_SOCKET_MAKER_H

#include <stddef.h>
#include <stdint.h>

struct socket_maker;

/* Descriptors that one keeps open at most. */
#define SOCKET_MAKER_FDS 65

/**
 * socket_maker_new() - a process that makes sockets as the user that this one is now
 *
 * Call it before the user is changed; signals that are blocked now do not end it.
 * Return: 0 or -errno.
 */
int socket_maker_new(struct socket_maker **ret);

/**
 * socket_maker_take() - a socket as by sock_tcp(); from any thread
 *
 * Waits for the process once in sixteen calls.  If it is gone the socket is made here, which
 * is said once.  Return: the descriptor or -errno.
 */
int socket_maker_take(struct socket_maker *m, uint8_t family);

/* The same for a socket as by udp_plain(). */
int socket_maker_take_udp(struct socket_maker *m, uint8_t family);

/* The process ends.  NULL: nothing. */
void socket_maker_free(struct socket_maker *m);

#endif
