/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_PIPE_H
#define SYS_PIPE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"

/**
 * struct pipe - kernel memory through which splice(2) moves bytes
 * @cap_bytes:	how much may be asked for at once
 * @len_bytes:	how much it holds
 */
struct pipe {
	struct list link;
	int read_fd, write_fd;
	uint32_t cap_bytes;
	uint32_t len_bytes;
};

/* Empty pipes of one thread, lent to lanes while these hold bytes. */
struct pipe_pool {
	struct list free;
	unsigned int n_made, max;
	unsigned int n_patience; /* asked for in vain so often before the kernel is asked again */
};

void pipe_pool_init(struct pipe_pool *p, unsigned int max);
void pipe_pool_done(struct pipe_pool *p);

/* Return: an empty pipe of at least 256 KiB (below that splicing is no better than copying),
 * or NULL: all are lent, or the kernel grants none (fs.pipe-user-pages-soft). */
struct pipe *pipe_get(struct pipe_pool *p);

/* Give it back; one that still holds bytes is closed. */
void pipe_put(struct pipe_pool *p, struct pipe *pipe);

/**
 * pipe_pull() - socket to pipe, at most @max_bytes
 *
 * Return: bytes, 0 at the end of the stream, -EAGAIN: no data if the pipe is empty (a pipe
 * that holds something may also be out of slots), or another -errno.
 */
ssize_t pipe_pull(struct pipe *pipe, int fd, size_t max_bytes);

/* Pipe to socket.  Return: bytes, -EAGAIN, or another -errno. */
ssize_t pipe_push(struct pipe *pipe, int fd);

#endif
