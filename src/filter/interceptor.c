/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  An interceptor in one flow is an attachment: one state of the embedder's
 * and a side, which is a filter, in each lane.  Sides leave one by one (filter->leave), by the
 * lane's own hand: a callback runs in the middle of a lane's work and may change no list.  With
 * the last side the attachment goes, and close() is called.  Whatever ends a flow frees its
 * lanes, so close() comes once for each open() without any other bookkeeping.
 *
 * The interceptor nearest to the client is the first in the up lane and the last in the down
 * lane.
 *
 * limpid_leave() names a flow, not an interceptor: the one whose callback is running is meant,
 * and there is at most one in a flow.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/filter.h"
#include "filter/interceptor.h"

static_assert(LIMPID_HOLD_MAX_BYTES == FILTER_HOLD_MAX_BYTES, "what the embedder was told");
static_assert(LIMPID_OUTPUT_MAX_BYTES == FILTER_OUT_MAX_BYTES, "what the embedder was told");

struct limpid_output {
	struct buf *bytes;
	bool failed;
};

struct side {
	struct filter filter;
	struct attachment *of;
	enum limpid_direction direction;
	bool gone;
};

struct attachment {
	const struct interceptor_conf *conf;
	struct flow *flow;
	void *state;
	struct side sides[2]; /* by enum limpid_direction */
	bool running;
};

int limpid_output_write(struct limpid_output *out, const void *bytes, size_t len)
{
	int r = buf_append(out->bytes, span_of(bytes, len), LIMPID_OUTPUT_MAX_BYTES);

	if (r < 0)
		out->failed = true;
	return r;
}

static enum filter_verdict filter_verdict_of(enum limpid_verdict v)
{
	switch (v) {
	case LIMPID_PASS:
		return FILTER_PASS;
	case LIMPID_REPLACE:
	case LIMPID_DROP:
		return FILTER_REPLACE;
	case LIMPID_HOLD:
		return FILTER_HOLD;
	case LIMPID_END:
		return FILTER_END;
	}
	return FILTER_END; /* not a verdict */
}

static enum filter_verdict side_data(struct filter *f, struct span in, bool end, struct buf *out)
{
	struct side *s = container_of(f, struct side, filter);
	struct attachment *a = s->of;
	struct limpid_output output = { .bytes = out };
	enum limpid_verdict v;

	a->running = true;
	v = a->conf->ops.data(flow_public(a->flow), a->state, s->direction, in.data, in.len, end,
			      &output);
	a->running = false;
	if (output.failed)
		return FILTER_END;
	if (v == LIMPID_DROP)
		buf_done(out);
	return filter_verdict_of(v);
}

static void side_free(struct filter *f)
{
	struct side *s = container_of(f, struct side, filter);
	struct attachment *a = s->of;

	s->gone = true;
	if (!a->sides[LIMPID_UP].gone || !a->sides[LIMPID_DOWN].gone)
		return;
	if (a->conf->ops.close)
		a->conf->ops.close(flow_public(a->flow), a->state);
	free(a);
}

static const struct filter_ops side_ops = {
	.name = "interceptor",
	.data = side_data,
	.free = side_free,
};

static struct lane *lane_of(struct flow *f, enum limpid_direction direction)
{
	return direction == LIMPID_UP ? &f->up : &f->down;
}

int interceptor_open(struct flow *f, const struct interceptor *i)
{
	const struct interceptor_conf *conf = i->conf;
	struct attachment *a = NEW0(struct attachment);
	int r = 0;

	if (!a)
		return -ENOMEM;
	a->conf = conf;
	a->flow = f;
	if (conf->ops.open)
		r = conf->ops.open(flow_public(f), conf->conf, &a->state);
	if (r) {
		free(a);
		return r < 0 ? r : 0;
	}
	for (unsigned int d = LIMPID_UP; d <= LIMPID_DOWN; d++)
		a->sides[d] = (struct side){ .filter.ops = &side_ops,
					     .of = a,
					     .direction = (enum limpid_direction)d };
	list_add_tail(&f->up.filters, &a->sides[LIMPID_UP].filter.link);
	list_add_tail(f->down.filters.next, &a->sides[LIMPID_DOWN].filter.link); /* in front */
	return 0;
}

static struct attachment *running_in(struct lane *l)
{
	struct list *i, *tmp;

	list_for_each(i, tmp, &l->filters) {
		struct filter *f = list_entry(i, struct filter, link);

		if (f->ops == &side_ops && container_of(f, struct side, filter)->of->running)
			return container_of(f, struct side, filter)->of;
	}
	return NULL;
}

void limpid_leave_direction(struct limpid_flow *flow, enum limpid_direction direction)
{
	struct flow *f = flow_private(flow);
	struct attachment *a = running_in(&f->up);
	struct side *s;

	if (!a)
		a = running_in(&f->down);
	if (!a || (direction != LIMPID_UP && direction != LIMPID_DOWN))
		return;
	s = &a->sides[direction];
	if (s->gone || s->filter.leave)
		return;
	s->filter.leave = true;
	lane_of(f, direction)->stirred = true;
	flow_defer(f);
}

void limpid_leave(struct limpid_flow *flow)
{
	limpid_leave_direction(flow, LIMPID_UP);
	limpid_leave_direction(flow, LIMPID_DOWN);
}
