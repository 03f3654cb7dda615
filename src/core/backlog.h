/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BACKLOG_H
#define CORE_BACKLOG_H

#include <stdatomic.h>
#include <stdint.h>

#define BACKLOG_MAX 4096
#define BACKLOG_MIN 64

/**
 * struct backlog - how many connections may wait at a listening socket; shared by all workers
 * @cut:	0, or what BACKLOG_MAX was cut down to
 * @due_ms:	when to look again
 *
 * Zero is a valid initial value: the socket was made with BACKLOG_MAX.
 */
struct backlog {
	atomic_uint cut;
	atomic_ullong due_ms;
};

/**
 * backlog_look() - a connection has just been accepted: did it wait for too long?
 * @listen_fd:	where it waited
 * @fd:		the connection
 * @now_ms:	the loop's clock
 *
 * Call it for each; it makes system calls once in 100 ms at most.
 */
void backlog_look(struct backlog *b, int listen_fd, int fd, uint64_t now_ms);

/* Accepting pauses at a limit: it is not for want of time that connections wait. */
void backlog_excuse(struct backlog *b, uint64_t now_ms);

#endif
