/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes between ends that stutter: exactly the bytes, in order, and then the end, however they
 * are moved, wherever they are interrupted; and never more in hand than one read.
 */
#include "core/filter.h"
#include "double.h"

#define BUFFER_BYTES ((size_t)256 << 10)
#define SEEDS 6

struct bench {
	struct double_end from, to;
	struct lane lane;
	struct lane_tools tools;
	uint32_t seed;
};

static void bench_init(struct bench *b, uint32_t seed, enum offload offload, uint64_t n_gives)
{
	memset(b, 0, sizeof(*b));
	b->seed = seed + 17;
	double_init(&b->from, seed + 1);
	double_init(&b->to, seed + 100);
	lane_init(&b->lane, &b->from.end, &b->to.end);
	b->lane.offload = offload;
	b->from.lane = &b->lane;
	b->from.n_gives = n_gives;
	b->tools.buffer_bytes = BUFFER_BYTES;
	b->tools.buffer = malloc(BUFFER_BYTES);
	pipe_pool_init(&b->tools.pipes, 4);
}

static void bench_done(struct bench *b)
{
	unsigned int n_free = 0;
	struct list *i, *tmp;

	lane_done(&b->lane, &b->tools);
	list_for_each(i, tmp, &b->tools.pipes.free)
		n_free++;
	assert_int_equal(n_free, b->tools.pipes.n_made); /* every pipe came back */
	pipe_pool_done(&b->tools.pipes);
	free(b->tools.buffer);
	double_done(&b->from);
	double_done(&b->to);
}

static void bench_calm(struct bench *b)
{
	b->from.calm = b->to.calm = true;
	end_note(&b->from.end, READY_IN);
	end_note(&b->to.end, READY_OUT);
}

/* A lane that waits while it could go on is never woken again. */
static void check_waits(const struct bench *b)
{
	const struct lane *l = &b->lane;

	if (!lane_is_drained(l) || b->to.flush_due)
		assert_false(b->to.end.writable);
	else
		assert_true(l->paused || !b->from.end.readable);
}

static enum lane_result bench_turn(struct bench *b, int *ret_error)
{
	size_t budget = 1 + double_random(&b->seed) % (2u << 20);
	uint64_t before = b->lane.bytes;
	enum lane_result r = lane_pump(&b->lane, &b->tools, budget, ret_error);

	assert_true(b->lane.rest.len <= BUFFER_BYTES);
	assert_true(b->lane.bytes - before <= budget + (1u << 20)); /* about the budget */
	assert_int_equal(b->lane.bytes, b->from.n_given);
	if (r == LANE_WAITS)
		check_waits(b);
	if (!b->lane.pipe || b->lane.pipe->len_bytes)
		return r;
	fail_msg("an idle lane keeps a pipe");
	return r;
}

static enum lane_result bench_run(struct bench *b, int *ret_error)
{
	enum lane_result r;

	for (unsigned int k = 0; k < 10000000; k++) {
		double_event(&b->from);
		double_event(&b->to);
		r = bench_turn(b, ret_error);
		if (r != LANE_WAITS && r != LANE_BUSY)
			return r;
	}
	fail_msg("it never ends");
	return LANE_WAITS;
}

static void run_exact(enum offload offload, uint32_t seed, uint64_t n, bool flushes)
{
	struct bench b;
	int error = 0;

	bench_init(&b, seed, offload, n);
	b.to.flushes = flushes;
	assert_int_equal(bench_run(&b, &error), LANE_ENDED);
	assert_int_equal(b.to.n_taken, n);
	assert_true(lane_is_drained(&b.lane));
	assert_false(b.to.finished);
	lane_finish(&b.lane);
	assert_true(b.to.finished && b.lane.finished);
	if (offload != OFFLOAD_AUTO)
		assert_int_equal(b.lane.was_spliced, n && offload == OFFLOAD_SPLICE);
	if (offload == OFFLOAD_COPY)
		assert_int_equal(b.from.n_pulls, 0);
	if (offload == OFFLOAD_SPLICE)
		assert_int_equal(b.from.n_reads, 0);
	if (offload == OFFLOAD_AUTO && n > 3 * DOUBLE_PHASE_BYTES) /* both ways, and back */
		assert_true(b.from.n_reads > 100 && b.from.n_pulls > 10 && b.lane.was_spliced);
	bench_done(&b);
}

static void test_exact(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 1000, BUFFER_BYTES, BUFFER_BYTES + 1, 11u << 20 };

	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++)
		for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
			for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++)
				run_exact((enum offload)o, seed, sizes[i], seed % 2);
}

static void test_switches_while_running(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		enum lane_result r = LANE_WAITS;
		struct bench b;
		int error = 0;

		bench_init(&b, seed, OFFLOAD_AUTO, 7u << 20);
		while (r == LANE_WAITS || r == LANE_BUSY) {
			uint32_t dice = double_random(&b.seed) % 50;

			double_event(&b.from);
			double_event(&b.to);
			if (dice <= OFFLOAD_SPLICE)
				b.lane.offload = (enum offload)dice;
			if (dice == 10)
				b.lane.paused = !b.lane.paused;
			r = bench_turn(&b, &error);
			if (dice % 10 == 3)
				b.lane.paused = false;
		}
		assert_int_equal(r, LANE_ENDED);
		assert_int_equal(b.to.n_taken, 7u << 20);
		assert_true(b.from.n_pulls && b.from.n_reads);
		bench_done(&b);
	}
}

/* The kernel grants no pipe: whoever should splice copies. */
static void test_without_pipes(void **state)
{
	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
		struct bench b;
		int error = 0;

		bench_init(&b, 3, (enum offload)o, 5u << 20);
		b.tools.pipes.max = 0;
		assert_int_equal(bench_run(&b, &error), LANE_ENDED);
		assert_int_equal(b.to.n_taken, 5u << 20);
		assert_int_equal(b.from.n_pulls, 0);
		bench_done(&b);
	}
}

static void test_receiver_stands_still(void **state)
{
	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
		struct bench b;
		int error = 0;

		bench_init(&b, 5, (enum offload)o, 50u << 20);
		b.from.calm = true;
		for (unsigned int k = 0; k < 1000; k++) {
			end_note(&b.from.end, READY_IN);
			assert_int_equal(lane_pump(&b.lane, &b.tools, 1u << 20, &error),
					 LANE_WAITS);
		}
		assert_int_equal(b.from.n_reads + b.from.n_pulls, 1);
		assert_int_equal(b.to.n_writes + b.to.n_pushes, 0);
		assert_false(lane_is_drained(&b.lane));
		bench_done(&b); /* ended with something in hand: nothing leaks */
	}
}

static void test_paused_drains(void **state)
{
	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
		struct bench b;
		uint64_t given;
		int error = 0;

		bench_init(&b, 6, (enum offload)o, 50u << 20);
		b.from.calm = true;
		end_note(&b.from.end, READY_IN);
		lane_pump(&b.lane, &b.tools, 1u << 20, &error);
		given = b.from.n_given;
		assert_true(given > 0 && !lane_is_drained(&b.lane));
		b.lane.paused = true;
		for (unsigned int k = 0; k < 1000; k++) {
			end_note(&b.from.end, READY_IN);
			double_event(&b.to);
			assert_int_equal(lane_pump(&b.lane, &b.tools, 1u << 20, &error),
					 LANE_WAITS);
		}
		assert_int_equal(b.from.n_given, given);
		assert_int_equal(b.to.n_taken, given);
		assert_true(lane_is_drained(&b.lane));
		bench_done(&b);
	}
}

/* A reset comes after bytes: those are delivered first. */
static void test_read_fails(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++)
		for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
			struct bench b;
			int error = 0;

			bench_init(&b, seed, (enum offload)o, 1u << 20);
			b.from.read_error = -ECONNRESET;
			assert_int_equal(bench_run(&b, &error), LANE_READ_FAILED);
			assert_int_equal(error, -ECONNRESET);
			assert_int_equal(b.to.n_taken, 1u << 20);
			assert_true(lane_is_drained(&b.lane));
			bench_done(&b);
		}
}

static void test_write_fails(void **state)
{
	static const uint64_t places[] = { 0, 1, 100000, 1u << 20 };

	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++)
		for (unsigned int i = 0; i < ARRAY_SIZE(places); i++)
			for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
				struct bench b;
				int error = 0;

				bench_init(&b, seed, (enum offload)o, 4u << 20);
				b.to.write_error = -EPIPE;
				b.to.write_fails_at = places[i];
				assert_int_equal(bench_run(&b, &error), LANE_WRITE_FAILED);
				assert_int_equal(error, -EPIPE);
				assert_int_equal(b.to.n_taken, places[i]);
				bench_done(&b);
			}
}

/* An error that passes, as for want of memory: what came after the missing bytes is not written,
 * whether the lane read it or somebody else had. */
static void test_nothing_follows_a_failed_write(void **state)
{
	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++)
		for (unsigned int offered = 0; offered < 2; offered++) {
			struct bench b;
			int error = 0;

			bench_init(&b, 1, (enum offload)o, 4u << 20);
			bench_calm(&b);
			b.to.write_error = -ENOMEM;
			if (offered)
				assert_int_equal(lane_offer(&b.lane, double_span(0, 100), &error),
						 LANE_WRITE_FAILED);
			else
				assert_int_equal(lane_pump(&b.lane, &b.tools, 1u << 20, &error),
						 LANE_WRITE_FAILED);
			assert_int_equal(error, -ENOMEM);
			error = b.to.write_error = 0;
			double_event(&b.to);
			assert_int_equal(lane_offer(&b.lane, double_span(0, 100), &error),
					 LANE_WRITE_FAILED);
			assert_int_equal(lane_pump(&b.lane, &b.tools, 1u << 20, &error),
					 LANE_WRITE_FAILED);
			assert_int_equal(error, -ENOMEM);
			assert_int_equal(b.to.n_taken, 0);
			bench_done(&b);
		}
}

/* Bytes that somebody else has read: behind what the lane has, before what it will read. */
static void test_offer_keeps_the_order(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++)
		for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
			enum lane_result r = LANE_WAITS;
			struct bench b;
			int error = 0;

			bench_init(&b, seed, (enum offload)o, 4u << 20);
			while (r == LANE_WAITS || r == LANE_BUSY) {
				uint8_t own[500];
				size_t n = double_random(&b.seed) % sizeof(own);

				if (b.from.n_given + n <= b.from.n_gives && n % 4 == 0) {
					for (size_t i = 0; i < n; i++)
						own[i] = double_byte(b.from.n_given++);
					assert_int_equal(lane_offer(&b.lane, span_of(own, n),
								    &error),
							 LANE_WAITS);
				}
				double_event(&b.from);
				double_event(&b.to);
				r = lane_pump(&b.lane, &b.tools, 1u << 20, &error);
			}
			assert_int_equal(r, LANE_ENDED);
			assert_int_equal(b.to.n_taken, 4u << 20);
			assert_int_equal(b.lane.bytes, 4u << 20);
			bench_done(&b);
		}
}

static void test_budget(void **state)
{
	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
		unsigned int n_turns = 0;
		struct bench b;
		int error = 0;

		bench_init(&b, 7, (enum offload)o, 64u << 20);
		bench_calm(&b);
		while (lane_pump(&b.lane, &b.tools, 1u << 20, &error) == LANE_BUSY) {
			end_note(&b.from.end, READY_IN); /* the double clears it on short reads */
			n_turns++;
		}
		assert_true(n_turns >= 32); /* others had their turn */
		bench_done(&b);
	}
}

/* ---- with somebody watching ---- */

struct counter {
	struct filter f;
	uint64_t seen, leave_at;
	unsigned int n_ends;
};

static enum filter_verdict counter_data(struct filter *f, struct span in, bool end,
					struct buf *out)
{
	struct counter *c = container_of(f, struct counter, f);

	(void)out;
	assert_false(c->f.leave);
	for (size_t i = 0; i < in.len;) {
		struct span s = double_span(c->seen + i, in.len - i);

		assert_memory_equal(in.data + i, s.data, s.len);
		i += s.len;
	}
	c->seen += in.len;
	c->n_ends += end;
	if (c->leave_at && c->seen >= c->leave_at)
		f->leave = true;
	return FILTER_PASS;
}

static const struct filter_ops counter_ops = { .name = "counter", .data = counter_data };

/* Nobody splices past a filter; once it has left, everybody may. */
static void test_filter_ends_offload_until_it_leaves(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++)
		for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
			struct counter c = { .f.ops = &counter_ops, .leave_at = 1u << 20 };
			struct bench b;
			int error = 0;

			bench_init(&b, seed, (enum offload)o, 8u << 20);
			list_add_tail(&b.lane.filters, &c.f.link);
			while (!list_empty(&b.lane.filters)) {
				assert_int_equal(b.from.n_pulls, 0);
				double_event(&b.from);
				double_event(&b.to);
				bench_turn(&b, &error);
			}
			assert_true(c.seen >= 1u << 20 && c.seen < 2u << 20);
			assert_int_equal(bench_run(&b, &error), LANE_ENDED);
			assert_true(c.seen < 2u << 20); /* no callback any more */
			assert_int_equal(b.to.n_taken, 8u << 20);
			assert_int_equal(b.from.n_pulls > 0, o != OFFLOAD_COPY);
			bench_done(&b);
		}
}

static void test_filter_sees_all_and_the_end_once(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		struct counter c[3] = { { .f.ops = &counter_ops },
					{ .f.ops = &counter_ops },
					{ .f.ops = &counter_ops } };
		struct bench b;
		int error = 0;

		bench_init(&b, seed, OFFLOAD_AUTO, 3u << 20);
		for (unsigned int i = 0; i < ARRAY_SIZE(c); i++)
			list_add_tail(&b.lane.filters, &c[i].f.link);
		assert_int_equal(bench_run(&b, &error), LANE_ENDED);
		for (unsigned int i = 0; i < ARRAY_SIZE(c); i++) {
			assert_int_equal(c[i].seen, 3u << 20);
			assert_int_equal(c[i].n_ends, 1);
		}
		assert_int_equal(b.to.n_taken, 3u << 20);
		bench_done(&b);
	}
}

static enum filter_verdict holder_data(struct filter *f, struct span in, bool end, struct buf *out)
{
	(void)out;
	(void)end;
	assert_false(f->leave);
	return in.len < 100000 ? FILTER_HOLD : FILTER_PASS;
}

static const struct filter_ops holder_ops = { .name = "holder", .data = holder_data };

/* Filters leave between two reads, any of three: what they hold goes on at once, in order. */
static void test_filters_leave_while_holding(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 8 * SEEDS; seed++) {
		struct filter f[3] = { { .ops = &holder_ops },
				       { .ops = &holder_ops },
				       { .ops = &holder_ops } };
		enum lane_result r = LANE_WAITS;
		struct bench b;
		int error = 0;

		bench_init(&b, seed, OFFLOAD_AUTO, 3u << 20);
		for (unsigned int i = 0; i < ARRAY_SIZE(f); i++)
			list_add_tail(&b.lane.filters, &f[i].link);
		while (b.from.n_given < 1u << 20) {
			double_event(&b.from);
			double_event(&b.to);
			lane_pump(&b.lane, &b.tools, 1u << 18, &error);
		}
		b.lane.paused = true;
		for (unsigned int i = 0; i < ARRAY_SIZE(f); i++)
			b.lane.stirred |= f[i].leave = seed & 1u << i;
		for (unsigned int k = 0; k < 1000 && r == LANE_WAITS; k++) {
			end_note(&b.to.end, READY_OUT);
			r = lane_pump(&b.lane, &b.tools, 1u << 20, &error);
		}
		for (unsigned int i = 0; i < ARRAY_SIZE(f); i++)
			assert_int_equal(list_empty(&f[i].link), f[i].leave);
		if (list_empty(&b.lane.filters))
			assert_int_equal(b.to.n_taken, b.from.n_given);
		b.lane.paused = false;
		while (r == LANE_WAITS || r == LANE_BUSY) {
			double_event(&b.from);
			double_event(&b.to);
			r = lane_pump(&b.lane, &b.tools, 1u << 20, &error);
		}
		assert_int_equal(r, LANE_ENDED);
		assert_int_equal(b.to.n_taken, 3u << 20);
		bench_done(&b);
	}
}

/* A layer that cannot splice comes on top while the lane splices: it is copied from then on. */
static void test_layer_without_splice(void **state)
{
	static struct stream_ops plain;
	struct stream top = { .ops = &plain };
	struct bench b;
	unsigned int n;
	int error = 0;

	(void)state;
	plain = double_ops;
	plain.pull = NULL;
	plain.push = NULL;
	bench_init(&b, 8, OFFLOAD_AUTO, 12u << 20);
	while (!b.lane.spliced || !lane_is_drained(&b.lane)) {
		double_event(&b.from);
		double_event(&b.to);
		bench_turn(&b, &error);
	}
	end_push(&b.to.end, &top);
	n = b.from.n_pulls;
	assert_int_equal(bench_run(&b, &error), LANE_ENDED);
	assert_int_equal(b.from.n_pulls, n);
	assert_int_equal(b.to.n_taken, 12u << 20);
	bench_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_switches_while_running),
		cmocka_unit_test(test_without_pipes),
		cmocka_unit_test(test_receiver_stands_still),
		cmocka_unit_test(test_paused_drains),
		cmocka_unit_test(test_read_fails),
		cmocka_unit_test(test_write_fails),
		cmocka_unit_test(test_nothing_follows_a_failed_write),
		cmocka_unit_test(test_offer_keeps_the_order),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_filter_ends_offload_until_it_leaves),
		cmocka_unit_test(test_filter_sees_all_and_the_end_once),
		cmocka_unit_test(test_filters_leave_while_holding),
		cmocka_unit_test(test_layer_without_splice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
