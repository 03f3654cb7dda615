/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A lane reads from one end only while it holds nothing for the other:
 * that is all the back-pressure there is, and what bounds its memory to one read.  What a read
 * yields is written at once from the thread's buffer; only what the socket does not take is
 * kept, in `rest`.
 *
 * With no filter and sockets on both tops the lane may splice.  AUTO starts by copying, which
 * is cheaper for small traffic, turns to splicing when reads fill up (a pipe of 1 MiB then
 * costs half of a copy per byte), and back when fills stay small.  It turns only while it holds
 * nothing, so no byte can be overtaken.
 *
 * EAGAIN from splice(socket, pipe) says "no data" only when the pipe was empty: it can also be
 * out of slots.  So the input is pulled only into an empty pipe, and only then does EAGAIN
 * clear the sticky bit.
 */
#include <errno.h>

#include "core/filter.h"
#include "core/lane.h"

/* Reads of this size, twice in a row, or one of twice that, make a lane splice. */
#define BULK_BYTES ((ssize_t)64 << 10)
#define BULK_TIMES 2
/* This many fills below this size in a row make it copy again. */
#define SMALL_BYTES ((ssize_t)16 << 10)
#define SMALL_TIMES 8
/* What a lane may be asked to keep: a read, or what filters made of it. */
#define REST_MAX_BYTES ((size_t)8 << 20)

void lane_init(struct lane *l, struct end *from, struct end *to)
{
	*l = (struct lane){ .from = from, .to = to };
	list_init(&l->filters);
}

void lane_drop_filters(struct lane *l)
{
	struct list *i, *tmp;

	list_for_each(i, tmp, &l->filters)
		filter_remove(list_entry(i, struct filter, link));
}

void lane_done(struct lane *l, struct lane_tools *t)
{
	if (!l->from)
		return;
	lane_drop_filters(l);
	buf_done(&l->rest);
	if (l->pipe)
		pipe_put(&t->pipes, l->pipe);
	l->pipe = NULL;
}

bool lane_is_drained(const struct lane *l)
{
	return !l->rest.len && !(l->pipe && l->pipe->len_bytes);
}

/* Write @out now; keep what is not taken. */
static enum lane_result emit(struct lane *l, struct span out, int *ret_error)
{
	ssize_t n;

	if (l->broken) {
		*ret_error = l->broken;
		return LANE_WRITE_FAILED;
	}
	while (out.len && lane_is_drained(l) && l->to->writable) {
		n = stream_write(l->to->top, out.data, out.len);
		if (n == -EAGAIN)
			break;
		if (n < 0) {
			*ret_error = l->broken = (int)n;
			return LANE_WRITE_FAILED;
		}
		out = span_skip(out, (size_t)n);
	}
	if (out.len && buf_append(&l->rest, out, REST_MAX_BYTES) < 0)
		return LANE_NO_MEMORY;
	return LANE_WAITS;
}

/* Show *@in to each filter from @first on; it becomes what comes out of the last, perhaps in
 * @made.  Those that leave are asked for what they hold even if there is nothing to show. */
static int show(struct lane *l, struct list *first, struct span *in, bool end, struct buf made[2])
{
	struct list *i, *next;
	unsigned int k = 0;

	for (i = first; i != &l->filters; i = next) {
		struct filter *f = list_entry(i, struct filter, link);
		int r;

		next = i->next;
		if (!in->len && !end && !f->leave)
			continue;
		buf_done(&made[k]);
		r = filter_run(f, *in, end, &made[k], in);
		if (r < 0)
			return r;
		if (in->data && in->data == made[k].data) /* else it still points elsewhere */
			k ^= 1;
		if (f->leave)
			filter_remove(f);
	}
	return 0;
}

/* What comes out of the last filter is emitted. */
static enum lane_result run_filters(struct lane *l, struct list *first, struct span in, bool end,
				    int *ret_error)
{
	struct buf made[2] = { { 0 }, { 0 } };
	enum lane_result result;
	int r = show(l, first, &in, end, made);

	if (r == -ECONNABORTED)
		result = LANE_ENDED_BY_FILTER;
	else if (r == -EMSGSIZE)
		result = LANE_HELD_TOO_MUCH;
	else if (r < 0)
		result = LANE_NO_MEMORY;
	else
		result = emit(l, in, ret_error);
	buf_done(&made[0]);
	buf_done(&made[1]);
	return result;
}

/* Filters that left between two reads go, and what they hold passes those behind them. */
static enum lane_result let_leave(struct lane *l, int *ret_error)
{
	enum lane_result result = LANE_WAITS;
	struct list *i = l->filters.next;

	l->stirred = false;
	while (i != &l->filters && result == LANE_WAITS) {
		struct filter *f = list_entry(i, struct filter, link);
		struct list *next = i->next;
		struct buf held = f->held;

		if (f->leave) {
			f->held = (struct buf){ 0 };
			if (held.len)
				result = run_filters(l, next, buf_span(&held), false, ret_error);
			next = i->next; /* the one behind may have left, too */
			buf_done(&held);
			filter_remove(f);
		}
		i = next;
	}
	return result;
}

enum lane_result lane_offer(struct lane *l, struct span in, int *ret_error)
{
	l->bytes += in.len;
	if (list_empty(&l->filters))
		return emit(l, in, ret_error);
	return run_filters(l, l->filters.next, in, false, ret_error);
}

int lane_show(struct lane *l, struct span in, bool end, struct buf *out)
{
	struct buf made[2] = { { 0 }, { 0 } };
	int r;

	l->stirred = false;
	r = show(l, l->filters.next, &in, end, made);
	if (r == 0)
		r = buf_append(out, in, REST_MAX_BYTES);
	buf_done(&made[0]);
	buf_done(&made[1]);
	return r;
}

/* Nobody has a callback on this lane, and both tops are sockets. */
static bool can_splice(const struct lane *l)
{
	return list_empty(&l->filters) && !l->from->urgent && l->from->top->ops->pull &&
	       l->to->top->ops->push;
}

static void count_copied(struct lane *l, ssize_t n)
{
	l->n_bulk = n >= BULK_BYTES ? l->n_bulk + 1 : 0;
	if (n >= BULK_TIMES * BULK_BYTES || l->n_bulk >= BULK_TIMES) {
		l->spliced = true;
		l->n_bulk = l->n_small = 0;
	}
}

static void count_spliced(struct lane *l, ssize_t n)
{
	l->n_small = n < SMALL_BYTES ? l->n_small + 1 : 0;
	if (l->n_small >= SMALL_TIMES) {
		l->spliced = false;
		l->n_bulk = l->n_small = 0;
	}
}

/* The other side has ended: filters see it and let go of what they hold. */
static enum lane_result take_end(struct lane *l, int *ret_error)
{
	l->read_end = true;
	if (list_empty(&l->filters))
		return LANE_WAITS;
	return run_filters(l, l->filters.next, span_of(NULL, 0), true, ret_error);
}

/* One read and what follows from it.  LANE_BUSY: something moved. */
static enum lane_result copy_once(struct lane *l, struct lane_tools *t, size_t *moved,
				  int *ret_error)
{
	ssize_t n = stream_read(l->from->top, t->buffer, t->buffer_bytes);
	enum lane_result r;

	if (n == -EAGAIN)
		return LANE_WAITS;
	if (n < 0) {
		*ret_error = (int)n;
		return LANE_READ_FAILED;
	}
	*moved = (size_t)n;
	if (n)
		r = lane_offer(l, span_of(t->buffer, (size_t)n), ret_error);
	else
		r = take_end(l, ret_error);
	if (l->offload == OFFLOAD_AUTO)
		count_copied(l, n);
	return r == LANE_WAITS ? LANE_BUSY : r;
}

/* One pull into an empty pipe, which is pushed by drain().  LANE_BUSY: something moved. */
static enum lane_result splice_once(struct lane *l, size_t *moved, int *ret_error)
{
	ssize_t n = l->from->top->ops->pull(l->from->top, l->pipe, SIZE_MAX);

	if (n == -EAGAIN)
		return LANE_WAITS;
	if (n < 0) {
		*ret_error = (int)n;
		return LANE_READ_FAILED;
	}
	*moved = (size_t)n;
	l->bytes += (uint64_t)n;
	l->was_spliced = l->was_spliced || n;
	if (!n)
		l->read_end = true;
	else if (l->offload == OFFLOAD_AUTO)
		count_spliced(l, n);
	return LANE_BUSY;
}

/* Write what is held; `rest` can only be younger than what the pipe holds.  LANE_BUSY: nothing
 * is held any more. */
static enum lane_result drain(struct lane *l, int *ret_error)
{
	ssize_t n = l->broken;

	if (n)
		goto failed;
	while (l->pipe && l->pipe->len_bytes) {
		if (!l->to->writable)
			return LANE_WAITS;
		n = l->to->top->ops->push(l->to->top, l->pipe);
		if (n == -EAGAIN)
			return LANE_WAITS;
		if (n < 0)
			goto failed;
	}
	while (l->rest.len) {
		if (!l->to->writable)
			return LANE_WAITS;
		n = stream_write(l->to->top, l->rest.data, l->rest.len);
		if (n == -EAGAIN)
			return LANE_WAITS;
		if (n < 0)
			goto failed;
		buf_consume(&l->rest, (size_t)n);
	}
	n = stream_flush(l->to->top);
	if (n == -EAGAIN)
		return LANE_WAITS;
	if (n < 0)
		goto failed;
	return LANE_BUSY;
failed:
	*ret_error = l->broken = (int)n;
	return LANE_WRITE_FAILED;
}

static bool splices_now(struct lane *l, struct lane_tools *t)
{
	if (l->offload == OFFLOAD_COPY || !can_splice(l))
		return false;
	if (l->offload == OFFLOAD_AUTO && !l->spliced)
		return false;
	if (!l->pipe)
		l->pipe = pipe_get(&t->pipes);
	if (!l->pipe)
		l->spliced = false;
	return l->pipe != NULL;
}

static enum lane_result pump(struct lane *l, struct lane_tools *t, size_t budget_bytes,
			     int *ret_error)
{
	for (;;) {
		enum lane_result r = drain(l, ret_error);
		size_t moved = 0;

		if (r != LANE_BUSY)
			return r;
		if (l->stirred) {
			r = let_leave(l, ret_error);
			if (r != LANE_WAITS)
				return r;
			continue;
		}
		if (l->read_end)
			return LANE_ENDED;
		if (l->paused || !end_can_read(l->from))
			return LANE_WAITS;
		if (!budget_bytes)
			return LANE_BUSY;
		r = splices_now(l, t) ? splice_once(l, &moved, ret_error)
				      : copy_once(l, t, &moved, ret_error);
		if (r != LANE_BUSY)
			return r;
		budget_bytes -= moved < budget_bytes ? moved : budget_bytes;
	}
}

enum lane_result lane_pump(struct lane *l, struct lane_tools *t, size_t budget_bytes,
			   int *ret_error)
{
	enum lane_result r = pump(l, t, budget_bytes, ret_error);

	if (l->pipe && !l->pipe->len_bytes) { /* an idle lane holds nothing */
		pipe_put(&t->pipes, l->pipe);
		l->pipe = NULL;
	}
	return r;
}

void lane_finish(struct lane *l)
{
	l->finished = true;
	(void)stream_finish(l->to->top); /* a dead end is noticed by its own event */
}
