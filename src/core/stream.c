/* SPDX-License-Identifier: Apache-2.0 */
#include "core/stream.h"

void end_init(struct end *e, struct flow *flow, const struct stream_ops *ops)
{
	*e = (struct end){ .flow = flow, .fd = -1 };
	e->socket = (struct stream){ .ops = ops, .end = e };
	e->top = &e->socket;
}

void end_push(struct end *e, struct stream *s)
{
	s->below = e->top;
	s->end = e;
	e->top = s;
}

void end_move(struct end *to, struct end *from)
{
	struct watch watch = to->watch;
	struct flow *flow = to->flow;

	*to = *from;
	to->watch = watch;
	to->flow = flow;
	if (to->top == &from->socket)
		to->top = &to->socket;
	for (struct stream *s = to->top; s; s = s->below) {
		s->end = to;
		if (s->below == &from->socket)
			s->below = &to->socket;
	}
	from->fd = -1;
	from->top = &from->socket;
	from->readable = from->writable = from->hup = from->failed = from->urgent = false;
	from->opening = END_OPENED;
}

void end_close(struct end *e, bool orderly)
{
	for (struct stream *s = e->top, *below; s; s = below) {
		below = s->below;
		s->ops->close(s, orderly);
	}
	e->top = &e->socket;
	e->readable = e->writable = false;
}

void end_note(struct end *e, uint32_t ready)
{
	if (ready & (READY_IN | READY_PRI | READY_RDHUP | READY_HUP | READY_ERR))
		e->readable = true;
	if (ready & (READY_OUT | READY_HUP | READY_ERR))
		e->writable = true;
	if (ready & (READY_RDHUP | READY_HUP | READY_ERR))
		e->hup = true;
	if (ready & READY_PRI)
		e->urgent = true;
	if (ready & READY_ERR)
		e->failed = true;
}
