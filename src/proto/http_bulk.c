/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Content of a known length that nobody looks at needs no reading: it goes
 * from socket to socket through a pipe, as raw bulk does.  What is pulled is never more than the
 * content still to come, so nothing behind it is taken for it; and its tail is left over, so that
 * an exchange is over in one place only.  A direction lends a pipe while that holds bytes, and
 * then reads nothing else.
 */
#include <errno.h>

#include "base/mem.h"
#include "core/worker.h"
#include "proto/http_hub.h"
#include "sys/pipe.h"

/* Below this, setting out is not worth it; and what is left over. */
#define BULK_BYTES ((uint64_t)256 << 10)
#define TAIL_BYTES ((uint64_t)16 << 10)
/* Before others get a turn. */
#define BUDGET_BYTES ((size_t)1 << 20)

struct bulk {
	struct pipe **pipe;
	struct http1_body *body;
	struct end *from, *to;
	struct lane *lane;
	uint64_t *content_bytes;
};

static bool applies(const struct bulk *b)
{
	return b->body->framing == HTTP1_LENGTH && b->body->left >= BULK_BYTES &&
	       b->lane->offload != OFFLOAD_COPY && !hub_is_shown(b->lane) && !b->from->urgent &&
	       b->from->top->ops->pull && b->to->top->ops->push;
}

/* Into the empty pipe.  Return: > 0, -EAGAIN, or nothing more will come. */
static ssize_t pull(struct hub *h, const struct bulk *b)
{
	ssize_t n;

	if (!end_can_read(b->from))
		return -EAGAIN;
	n = b->from->top->ops->pull(b->from->top, *b->pipe, b->body->left - TAIL_BYTES);
	if (n <= 0)
		return n;
	b->body->left -= (uint64_t)n;
	*b->content_bytes += (uint64_t)n;
	b->lane->bytes += (uint64_t)n;
	b->lane->was_spliced = true;
	hub_moved(h, (uint64_t)n);
	return n;
}

/* Return: 0, -EAGAIN, or another -errno of the end that is written to. */
static int push(const struct bulk *b)
{
	while ((*b->pipe)->len_bytes) {
		ssize_t n;

		if (!b->to->writable)
			return -EAGAIN;
		n = b->to->top->ops->push(b->to->top, *b->pipe);
		if (n < 0)
			return (int)n;
	}
	return 0;
}

static void give_back(struct hub *h, struct pipe **pipe)
{
	if (*pipe)
		pipe_put(&h->flow->worker->tools.pipes, TAKE_PTR(*pipe));
}

/* Return: 0, the rest is to be read; -EAGAIN; or another -errno of the end that is written to. */
static int move(struct hub *h, const struct bulk *b)
{
	size_t budget_bytes = BUDGET_BYTES;
	ssize_t n = 0;

	if (!*b->pipe && applies(b))
		*b->pipe = pipe_get(&h->flow->worker->tools.pipes);
	while (*b->pipe) {
		n = push(b);
		if (n == -EAGAIN)
			return -EAGAIN;
		if (n < 0 || !applies(b))
			break;
		if (!budget_bytes) {
			flow_defer(h->flow);
			n = -EAGAIN;
			break;
		}
		n = pull(h, b);
		if (n <= 0) /* the end is met again by who reads */
			break;
		budget_bytes -= (size_t)n < budget_bytes ? (size_t)n : budget_bytes;
	}
	give_back(h, b->pipe);
	return (int)n;
}

bool hub_bulk_down(struct hub *h)
{
	struct flow *f = h->flow;
	const struct bulk b = { &h->down_pipe, &h->down_body, &h->origin->end,
				&f->client,    &f->down,      &h->down_bytes };
	int r;

	if (!h->down_pipe && (!h->begun || h->reply.len))
		return false;
	r = move(h, &b);
	if (f->client.failed)
		flow_close(f, WHY_CLIENT_RESET);
	return r == -EAGAIN || flow_is_over(f);
}

bool hub_bulk_up(struct hub *h)
{
	struct flow *f = h->flow;
	const struct bulk b = { &h->up_pipe,	 &h->up_body, &f->client,
				&h->origin->end, &f->up,      &h->up_bytes };
	int r;

	if (!h->up_pipe && (h->in.len || h->client_end))
		return false;
	r = move(h, &b);
	if (r < 0 && r != -EAGAIN && !f->client.failed)
		hub_up_dead(h); /* it may have said why */
	return r == -EAGAIN || h->up_over;
}

void hub_bulk_forget(struct hub *h)
{
	give_back(h, &h->up_pipe);
	give_back(h, &h->down_pipe);
}
