/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/pipe.h"

#define PIPE_WANTED_BYTES (1 << 20)
#define PIPE_ENOUGH_BYTES (256 << 10)
/* Once the kernel grants no more, it is not asked for each read. */
#define PATIENCE 1000

void pipe_pool_init(struct pipe_pool *p, unsigned int max)
{
	list_init(&p->free);
	p->n_made = p->n_patience = 0;
	p->max = max;
}

static void pipe_free(struct pipe_pool *p, struct pipe *pipe)
{
	close(pipe->read_fd);
	close(pipe->write_fd);
	free(pipe);
	p->n_made--;
}

void pipe_pool_done(struct pipe_pool *p)
{
	struct list *i, *tmp;

	list_for_each(i, tmp, &p->free) {
		list_del(i);
		pipe_free(p, list_entry(i, struct pipe, link));
	}
}

static struct pipe *pipe_new(struct pipe_pool *p)
{
	struct pipe *pipe = NEW0(struct pipe);
	int fds[2], size;

	if (!pipe)
		return NULL;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(pipe);
		return NULL;
	}
	pipe->read_fd = fds[0];
	pipe->write_fd = fds[1];
	list_init(&pipe->link);
	p->n_made++;
	size = fcntl(fds[1], F_SETPIPE_SZ, PIPE_WANTED_BYTES);
	if (size < 0)
		size = fcntl(fds[1], F_SETPIPE_SZ, PIPE_ENOUGH_BYTES);
	if (size < PIPE_ENOUGH_BYTES) {
		pipe_free(p, pipe);
		p->n_patience = PATIENCE;
		return NULL;
	}
	pipe->cap_bytes = (uint32_t)size;
	return pipe;
}

struct pipe *pipe_get(struct pipe_pool *p)
{
	struct list *l = p->free.next;

	if (!list_empty(&p->free)) {
		list_del(l);
		return list_entry(l, struct pipe, link);
	}
	if (p->n_patience) {
		p->n_patience--;
		return NULL;
	}
	return p->n_made < p->max ? pipe_new(p) : NULL;
}

void pipe_put(struct pipe_pool *p, struct pipe *pipe)
{
	if (pipe->len_bytes)
		pipe_free(p, pipe);
	else
		list_add_tail(&p->free, &pipe->link);
}

ssize_t pipe_pull(struct pipe *pipe, int fd, size_t max_bytes)
{
	size_t room = pipe->cap_bytes - pipe->len_bytes;
	ssize_t n = splice(fd, NULL, pipe->write_fd, NULL, max_bytes < room ? max_bytes : room,
			   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

	if (n < 0)
		return -errno;
	pipe->len_bytes += (uint32_t)n;
	return n;
}

ssize_t pipe_push(struct pipe *pipe, int fd)
{
	ssize_t n = splice(pipe->read_fd, NULL, fd, NULL, pipe->len_bytes,
			   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

	if (n < 0)
		return -errno;
	pipe->len_bytes -= (uint32_t)n;
	return n;
}
