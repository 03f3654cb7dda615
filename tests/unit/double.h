/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_DOUBLE_H
#define UNIT_DOUBLE_H

/*
 * An end without a socket, for tests of what moves bytes between ends.  It stutters: reads and
 * writes are short or say EAGAIN as a seeded generator likes, in bulk or in crumbs by turns.  It
 * also checks its caller: that nothing is read while the lane still holds something, that only
 * what the sticky bits allow is tried, and that what is written is what was to come.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/lane.h"

/* In bulk and in crumbs by turns, each for so many bytes. */
#define DOUBLE_PHASE_BYTES ((uint64_t)3 << 20)
#define DOUBLE_CHUNK_BYTES ((size_t)300 << 10)
#define DOUBLE_PERIOD_BYTES (((size_t)1 << 20) - 3)

/**
 * struct double_end - one end
 * @lane:	the lane that reads from it, to be checked; may be NULL
 * @gives:	what it gives, then the end or @read_error; NULL: double_byte() of the position
 * @n_gives:	bytes it gives in all
 * @n_given, @n_taken: so far
 * @keeps:	keep what is written in @taken; else it must be double_byte() of the position
 * @calm:	no stuttering
 * @write_fails_at: writing past this position fails with @write_error, if that is set
 */
struct double_end {
	struct end end;
	const struct lane *lane;
	uint32_t seed;
	const uint8_t *gives;
	uint64_t n_gives, n_given, n_taken;
	struct buf taken;
	bool keeps, calm, finished, closed, orderly, flush_due, flushes;
	int read_error, write_error;
	uint64_t write_fails_at;
	unsigned int n_reads, n_writes, n_pulls, n_pushes;
};

static inline uint32_t double_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* Bytes at position @at, at most @most: a pattern whose period no buffer's size divides. */
static inline struct span double_span(uint64_t at, uint64_t most)
{
	static uint8_t bytes[DOUBLE_PERIOD_BYTES];
	uint32_t x = 12345;

	for (size_t i = sizeof(bytes); !bytes[0] && i-- > 0;) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(x >> 24 | (i == 0));
	}
	at %= sizeof(bytes);
	return span_head(span_of(bytes + at, sizeof(bytes) - at), (size_t)most);
}

static inline uint8_t double_byte(uint64_t at)
{
	return *double_span(at, 1).data;
}

static inline struct double_end *double_of(struct stream *s)
{
	return container_of(s->end, struct double_end, end);
}

/* How much of @cap_bytes this time; 0: nothing, EAGAIN. */
static inline size_t double_portion(struct double_end *d, uint64_t at, size_t cap_bytes)
{
	uint32_t r = double_random(&d->seed);
	size_t most = at / DOUBLE_PHASE_BYTES % 2 ? 3000 : DOUBLE_CHUNK_BYTES;

	if (d->calm || !cap_bytes)
		return cap_bytes;
	if (r % 5 == 0)
		return 0;
	if (r % 5 == 1 || (at / DOUBLE_PHASE_BYTES % 2 == 0 && r % 7))
		return cap_bytes < most ? cap_bytes : most;
	return 1 + double_random(&d->seed) % (cap_bytes < most ? cap_bytes : most);
}

/* What may be given now into @cap_bytes, or what to say instead. */
static inline ssize_t double_give(struct double_end *d, size_t cap_bytes)
{
	uint64_t left = d->n_gives - d->n_given;
	size_t n = double_portion(d, d->n_given, left < cap_bytes ? (size_t)left : cap_bytes);

	assert_true(cap_bytes > 0);
	assert_true(d->end.readable);
	assert_false(d->closed);
	if (d->lane)
		assert_true(lane_is_drained(d->lane));
	if (!left)
		return d->read_error;
	if (!n) {
		d->end.readable = false;
		return -EAGAIN;
	}
	if (n < cap_bytes && double_random(&d->seed) % 2) /* a short read: the rest is an edge */
		d->end.readable = false;
	return (ssize_t)n;
}

static inline void double_copy(const struct double_end *d, uint8_t *dst, size_t n)
{
	for (size_t i = 0; i < n;) {
		uint64_t at = d->n_given + i;
		struct span s = d->gives ? span_of(d->gives + at, n - i) : double_span(at, n - i);

		memcpy(dst + i, s.data, s.len);
		i += s.len;
	}
}

static inline ssize_t double_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	struct double_end *d = double_of(s);
	ssize_t n = double_give(d, cap_bytes);

	d->n_reads++;
	if (n > 0) {
		double_copy(d, dst, (size_t)n);
		d->n_given += (uint64_t)n;
	}
	return n;
}

static inline ssize_t double_pull(struct stream *s, struct pipe *p, size_t max_bytes)
{
	struct double_end *d = double_of(s);
	size_t room = p->cap_bytes - p->len_bytes;
	ssize_t n = double_give(d, max_bytes < room ? max_bytes : room);
	uint8_t *bytes;

	d->n_pulls++;
	if (n <= 0)
		return n;
	bytes = malloc((size_t)n);
	double_copy(d, bytes, (size_t)n);
	n = write(p->write_fd, bytes, (size_t)n);
	free(bytes);
	assert_true(n > 0);
	d->n_given += (uint64_t)n;
	p->len_bytes += (uint32_t)n;
	return n;
}

/* How much may be taken of @len_bytes now, or what to say instead. */
static inline ssize_t double_may_take(struct double_end *d, size_t len_bytes)
{
	size_t n = double_portion(d, d->n_taken, len_bytes);

	assert_true(len_bytes > 0);
	assert_true(d->end.writable);
	assert_false(d->finished || d->closed);
	if (d->write_error && d->n_taken + n > d->write_fails_at) {
		if (d->n_taken >= d->write_fails_at)
			return d->write_error;
		n = (size_t)(d->write_fails_at - d->n_taken);
	}
	if (!n) {
		d->end.writable = false;
		return -EAGAIN;
	}
	if (n < len_bytes && double_random(&d->seed) % 2)
		d->end.writable = false;
	d->flush_due = d->flushes;
	return (ssize_t)n;
}

static inline void double_take(struct double_end *d, const uint8_t *src, size_t n)
{
	if (d->keeps)
		assert_int_equal(buf_append(&d->taken, span_of(src, n), SIZE_MAX), 0);
	for (size_t i = 0; i < n && !d->keeps;) {
		struct span s = double_span(d->n_taken + i, n - i);

		if (memcmp(src + i, s.data, s.len) != 0)
			fail_msg("from byte %llu on it is not what was sent",
				 (unsigned long long)(d->n_taken + i));
		i += s.len;
	}
	d->n_taken += n;
}

static inline ssize_t double_write(struct stream *s, const uint8_t *src, size_t len_bytes)
{
	struct double_end *d = double_of(s);
	ssize_t n = double_may_take(d, len_bytes);

	d->n_writes++;
	if (n > 0)
		double_take(d, src, (size_t)n);
	return n;
}

static inline ssize_t double_push(struct stream *s, struct pipe *p)
{
	struct double_end *d = double_of(s);
	ssize_t n = double_may_take(d, p->len_bytes);
	uint8_t *bytes;

	d->n_pushes++;
	if (n <= 0)
		return n;
	bytes = malloc((size_t)n);
	n = read(p->read_fd, bytes, (size_t)n);
	assert_true(n > 0);
	double_take(d, bytes, (size_t)n);
	free(bytes);
	p->len_bytes -= (uint32_t)n;
	return n;
}

static inline int double_flush(struct stream *s)
{
	struct double_end *d = double_of(s);

	if (!d->flush_due)
		return 0;
	if (!d->calm && double_random(&d->seed) % 2) {
		d->end.writable = false;
		return -EAGAIN;
	}
	d->flush_due = false;
	return 0;
}

static inline int double_finish(struct stream *s)
{
	struct double_end *d = double_of(s);

	assert_false(d->finished || d->closed || d->flush_due);
	d->finished = true;
	return 0;
}

static inline void double_close(struct stream *s, bool orderly)
{
	struct double_end *d = double_of(s);

	d->closed = true;
	d->orderly = orderly;
	d->end.fd = -1;
}

static const struct stream_ops double_ops = {
	.name = "double",
	.read = double_read,
	.write = double_write,
	.flush = double_flush,
	.finish = double_finish,
	.close = double_close,
	.pull = double_pull,
	.push = double_push,
};

static inline void double_init(struct double_end *d, uint32_t seed)
{
	*d = (struct double_end){ .seed = seed * 2654435761u + 1 };
	end_init(&d->end, NULL, &double_ops);
	d->end.fd = 1000;
}

static inline void double_done(struct double_end *d)
{
	buf_done(&d->taken);
}

/* An edge, as the loop brings it: sometimes one, sometimes the other, sometimes none. */
static inline void double_event(struct double_end *d)
{
	static const uint32_t edges[] = { 0, READY_IN, READY_OUT, READY_IN | READY_OUT };

	end_note(&d->end, edges[double_random(&d->seed) % ARRAY_SIZE(edges)]);
}

#endif
