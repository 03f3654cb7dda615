/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interceptors in a flow between ends that stutter: what each verdict does in both directions at
 * once, that what is held or left goes on in order, and that open, end and close pair up.
 */
#include "core/filter.h"
#include "core/flow.h"
#include "core/worker.h"
#include "double.h"
#include "filter/interceptor.h"

#define TEXT_BYTES ((size_t)200000)
#define BUFFER_BYTES ((size_t)16 << 10)
#define SEEDS 12
#define ROW_MAX 3

enum act {
	ACT_PASS,
	ACT_TWICE,	  /* replace: each byte, two times */
	ACT_LINES,	  /* hold until the last byte is that of a line; then [line...] */
	ACT_GATHER,	  /* hold 20,000 bytes, then pass */
	ACT_HOLD,	  /* hold all there is */
	ACT_DROP,	  /* all */
	ACT_DROP_WRITTEN, /* all, although something was written */
	ACT_TAIL,	  /* pass, and say more at the end */
	ACT_TAG,	  /* the own mark behind each block */
	ACT_END,	  /* pass some, then end the flow */
	ACT_FLOOD,	  /* write more than is allowed */
	ACT_NONSENSE,	  /* no verdict at all */
};

/* One interceptor of the test, and what it has seen of one flow. */
struct actor {
	enum act act;
	char mark;
	uint64_t leave_at; /* of the direction that gets there first; 0: stays */
	bool leave_one;	   /* only that direction */
	int open_returns;
	unsigned int n_opens, n_closes, n_ends[2], n_blocks[2];
	uint64_t shown[2];
	bool left[2];
	struct interceptor_conf conf;
};

static int actor_open(struct limpid_flow *flow, void *conf, void **ret_state)
{
	struct actor *a = conf;

	assert_non_null(flow);
	a->n_opens++;
	*ret_state = a;
	return a->open_returns;
}

static enum limpid_verdict act_lines(const uint8_t *bytes, size_t len, bool end,
				     struct limpid_output *out)
{
	if (!end && (!len || bytes[len - 1] != '\n'))
		return LIMPID_HOLD;
	for (size_t i = 0, start = 0; i < len; i++)
		if (bytes[i] == '\n' || i == len - 1) {
			assert_int_equal(limpid_output_write(out, "[", 1), 0);
			assert_int_equal(limpid_output_write(out, bytes + start, i + 1 - start), 0);
			assert_int_equal(limpid_output_write(out, "]", 1), 0);
			start = i + 1;
		}
	return LIMPID_REPLACE;
}

static enum limpid_verdict act_flood(struct limpid_output *out)
{
	static const uint8_t much[LIMPID_OUTPUT_MAX_BYTES];

	assert_int_equal(limpid_output_write(out, much, sizeof(much)), 0);
	assert_int_equal(limpid_output_write(out, much, 1), -EMSGSIZE);
	return LIMPID_PASS; /* it does not help */
}

static enum limpid_verdict act(struct actor *a, enum limpid_direction d, const uint8_t *bytes,
			       size_t len, bool end, struct limpid_output *out)
{
	switch (a->act) {
	case ACT_PASS:
		return LIMPID_PASS;
	case ACT_TWICE:
		for (size_t i = 0; i < 2 * len; i++)
			assert_int_equal(limpid_output_write(out, bytes + i / 2, 1), 0);
		return LIMPID_REPLACE;
	case ACT_LINES:
		return act_lines(bytes, len, end, out);
	case ACT_GATHER:
		return len < 20000 ? LIMPID_HOLD : LIMPID_PASS;
	case ACT_HOLD:
		return LIMPID_HOLD;
	case ACT_DROP_WRITTEN:
		assert_int_equal(limpid_output_write(out, "unseen", 6), 0);
		return LIMPID_DROP;
	case ACT_DROP:
		return LIMPID_DROP;
	case ACT_TAIL:
		if (!end)
			return LIMPID_PASS;
		assert_int_equal(limpid_output_write(out, bytes, len), 0);
		assert_int_equal(limpid_output_write(out, "tail", 4), 0);
		return LIMPID_REPLACE;
	case ACT_TAG:
		assert_int_equal(limpid_output_write(out, bytes, len), 0);
		if (len)
			assert_int_equal(limpid_output_write(out, &a->mark, 1), 0);
		return LIMPID_REPLACE;
	case ACT_END:
		return a->n_blocks[d] > 3 ? LIMPID_END : LIMPID_PASS;
	case ACT_FLOOD:
		return act_flood(out);
	case ACT_NONSENSE:
		return (enum limpid_verdict)77;
	}
	return LIMPID_END;
}

static enum limpid_verdict actor_data(struct limpid_flow *flow, void *state,
				      enum limpid_direction d, const uint8_t *bytes, size_t len,
				      bool end, struct limpid_output *out)
{
	struct actor *a = state;

	assert_int_equal(a->n_opens, 1);
	assert_int_equal(a->n_closes, 0);
	assert_int_equal(a->n_ends[d], 0);
	assert_false(a->left[d]);
	assert_true(len > 0 || end);
	a->n_ends[d] += end;
	a->n_blocks[d]++;
	a->shown[d] += len;
	if (a->leave_at && a->shown[d] >= a->leave_at) {
		a->left[d] = true;
		a->left[!d] |= !a->leave_one;
		if (a->leave_one)
			limpid_leave_direction(flow, d);
		else
			limpid_leave(flow);
	}
	return act(a, d, bytes, len, end, out);
}

static void actor_close(struct limpid_flow *flow, void *state)
{
	struct actor *a = state;

	assert_non_null(flow);
	a->n_closes++;
}

/* ---- a flow without sockets ---- */

struct stage {
	struct flow flow;
	struct worker worker;
	struct realm realm;
	struct double_end ends[2]; /* the giver of each direction */
	struct interceptor row[ROW_MAX];
	unsigned int n_row;
};

static void stage_init(struct stage *s, uint32_t seed, const uint8_t *text, size_t n_up,
		       size_t n_down)
{
	memset(s, 0, sizeof(*s));
	assert_int_equal(loop_init(&s->worker.loop), 0);
	s->worker.realm = &s->realm;
	s->worker.tools.buffer_bytes = BUFFER_BYTES;
	s->worker.tools.buffer = malloc(BUFFER_BYTES);
	pipe_pool_init(&s->worker.tools.pipes, 4);
	for (unsigned int d = LIMPID_UP; d <= LIMPID_DOWN; d++) {
		double_init(&s->ends[d], seed + 50 * d + 1);
		s->ends[d].gives = text;
		s->ends[d].n_gives = d == LIMPID_UP ? n_up : n_down;
		s->ends[d].keeps = true;
	}
	s->flow.worker = &s->worker;
	s->flow.phase = PHASE_RELAY;
	task_init(&s->flow.task, NULL);
	lane_init(&s->flow.up, &s->ends[LIMPID_UP].end, &s->ends[LIMPID_DOWN].end);
	lane_init(&s->flow.down, &s->ends[LIMPID_DOWN].end, &s->ends[LIMPID_UP].end);
}

static int stage_add(struct stage *s, struct actor *a)
{
	a->conf = (struct interceptor_conf){ .ops = { .size = sizeof(a->conf.ops),
						      .name = "actor",
						      .open = actor_open,
						      .data = actor_data,
						      .close = actor_close },
					     .conf = a };
	s->row[s->n_row] = (struct interceptor){ .open = interceptor_open, .conf = &a->conf };
	return s->row[s->n_row].open(&s->flow, &s->row[s->n_row]);
}

static bool goes_on(enum lane_result r)
{
	return r == LANE_WAITS || r == LANE_BUSY;
}

/* Until both lanes have ended, or one has failed.  Return: how. */
static enum lane_result stage_run(struct stage *s)
{
	enum lane_result up = LANE_WAITS, down = LANE_WAITS;
	int error = 0;

	for (unsigned int k = 0; k < 1000000; k++) {
		double_event(&s->ends[0]);
		double_event(&s->ends[1]);
		if (goes_on(up))
			up = lane_pump(&s->flow.up, &s->worker.tools, 8192, &error);
		if (goes_on(up) || up == LANE_ENDED)
			down = lane_pump(&s->flow.down, &s->worker.tools, 8192, &error);
		if (!goes_on(up) && up != LANE_ENDED)
			return up;
		if (!goes_on(down) && (down != LANE_ENDED || up == LANE_ENDED))
			return down;
	}
	fail_msg("it never ends");
	return LANE_WAITS;
}

static void stage_done(struct stage *s)
{
	task_cancel(&s->flow.task);
	s->flow.phase = PHASE_CLOSED;
	lane_done(&s->flow.up, &s->worker.tools);
	lane_done(&s->flow.down, &s->worker.tools);
	pipe_pool_done(&s->worker.tools.pipes);
	free(s->worker.tools.buffer);
	loop_done(&s->worker.loop);
	double_done(&s->ends[0]);
	double_done(&s->ends[1]);
}

/* What went in @direction has come out at the other end's side. */
static struct span came_out(const struct stage *s, enum limpid_direction direction)
{
	return buf_span(&s->ends[!direction].taken);
}

static void put(struct buf *b, const void *data, size_t n)
{
	assert_int_equal(buf_append(b, span_of(data, n), SIZE_MAX), 0);
}

/* What @act makes of the whole, however it is cut. */
static void expect(enum act act, struct span in, struct buf *out)
{
	switch (act) {
	case ACT_PASS:
	case ACT_GATHER:
	case ACT_HOLD:
		put(out, in.data, in.len);
		break;
	case ACT_TWICE:
		for (size_t i = 0; i < 2 * in.len; i++)
			put(out, in.data + i / 2, 1);
		break;
	case ACT_LINES:
		for (size_t i = 0, start = 0; i < in.len; i++)
			if (in.data[i] == '\n' || i == in.len - 1) {
				put(out, "[", 1);
				put(out, in.data + start, i + 1 - start);
				put(out, "]", 1);
				start = i + 1;
			}
		break;
	case ACT_DROP:
	case ACT_DROP_WRITTEN:
		break;
	case ACT_TAIL:
		put(out, in.data, in.len);
		put(out, "tail", 4);
		break;
	case ACT_TAG:
	case ACT_END:
	case ACT_FLOOD:
	case ACT_NONSENSE:
		fail_msg("depends on the blocks");
	}
}

static const uint8_t *text(void)
{
	static uint8_t bytes[TEXT_BYTES];
	uint32_t seed = 7;

	for (size_t i = 0; !bytes[0] && i < TEXT_BYTES; i++) {
		size_t at = TEXT_BYTES - 1 - i;

		bytes[at] = double_random(&seed) % 60 ? (uint8_t)('a' + seed % 26) : '\n';
	}
	return bytes;
}

static void check_pairs(const struct actor *a)
{
	assert_int_equal(a->n_opens, 1);
	assert_int_equal(a->n_closes, a->open_returns ? 0 : 1);
}

static void check_direction(const struct stage *s, enum limpid_direction d, const enum act *acts,
			    unsigned int n, size_t n_bytes)
{
	struct buf now = { 0 };

	put(&now, text(), n_bytes);
	for (unsigned int i = 0; i < n; i++) {
		struct buf next = { 0 };

		expect(acts[d == LIMPID_UP ? i : n - 1 - i], buf_span(&now), &next);
		buf_done(&now);
		now = next;
	}
	if (!span_eq(buf_span(&now), came_out(s, d)))
		fail_msg("acts %d %d, direction %d: %zu bytes instead of %zu, or others", acts[0],
			 n > 1 ? (int)acts[1] : -1, (int)d, came_out(s, d).len, now.len);
	buf_done(&now);
}

static void run_row(const enum act *acts, unsigned int n, uint32_t seed)
{
	size_t n_up = TEXT_BYTES / (2 + seed % 5) - seed, n_down = 1 + seed * 1000;
	struct actor actors[ROW_MAX] = { 0 };
	struct stage s;

	stage_init(&s, seed, text(), n_up, n_down);
	for (unsigned int i = 0; i < n; i++) {
		actors[i].act = acts[i];
		assert_int_equal(stage_add(&s, &actors[i]), 0);
	}
	assert_int_equal(stage_run(&s), LANE_ENDED);
	check_direction(&s, LIMPID_UP, acts, n, n_up);
	check_direction(&s, LIMPID_DOWN, acts, n, n_down);
	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(actors[i].n_ends[LIMPID_UP], 1);
		assert_int_equal(actors[i].n_ends[LIMPID_DOWN], 1);
		assert_int_equal(actors[i].n_closes, 0);
	}
	stage_done(&s);
	for (unsigned int i = 0; i < n; i++)
		check_pairs(&actors[i]);
}

static const enum act exact[] = { ACT_PASS, ACT_TWICE, ACT_LINES,	 ACT_GATHER,
				  ACT_HOLD, ACT_DROP,  ACT_DROP_WRITTEN, ACT_TAIL };

static void test_each_verdict(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++)
		for (unsigned int i = 0; i < ARRAY_SIZE(exact); i++)
			run_row(&exact[i], 1, seed);
}

static void test_rows(void **state)
{
	static const enum act rows[][ROW_MAX] = {
		{ ACT_LINES, ACT_TWICE, ACT_PASS },  { ACT_TWICE, ACT_LINES, ACT_TAIL },
		{ ACT_TAIL, ACT_LINES, ACT_GATHER }, { ACT_LINES, ACT_DROP, ACT_TAIL },
		{ ACT_GATHER, ACT_TAIL, ACT_LINES },
	};

	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++)
		for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++)
			run_row(rows[i], ROW_MAX, seed);
}

/* The first added is next to the client: first on the way up, last on the way down. */
static void test_order(void **state)
{
	struct actor a = { .act = ACT_TAG, .mark = 'a' }, b = { .act = ACT_TAG, .mark = 'b' };
	struct stage s;

	(void)state;
	stage_init(&s, 3, (const uint8_t *)"12345", 5, 5);
	s.ends[0].calm = s.ends[1].calm = true;
	assert_int_equal(stage_add(&s, &a), 0);
	assert_int_equal(stage_add(&s, &b), 0);
	assert_int_equal(stage_run(&s), LANE_ENDED);
	assert_true(span_eq_str(came_out(&s, LIMPID_UP), "12345ab"));
	assert_true(span_eq_str(came_out(&s, LIMPID_DOWN), "12345ba"));
	stage_done(&s);
}

/* Leaving, also while holding, in mid-flow: nothing is lost, nothing more is shown. */
static void test_leave(void **state)
{
	static const enum act acts[] = { ACT_PASS, ACT_HOLD, ACT_GATHER };

	(void)state;
	for (uint32_t seed = 0; seed < 4 * SEEDS; seed++) {
		struct actor stays = { .act = seed & 1 ? ACT_GATHER : ACT_PASS };
		struct actor goes = { .act = acts[seed % ARRAY_SIZE(acts)], .leave_at = 30000 };
		bool first = seed & 2;
		struct stage s;

		goes.leave_one = seed & 4;
		stage_init(&s, seed, text(), TEXT_BYTES, 100000);
		assert_int_equal(stage_add(&s, first ? &goes : &stays), 0);
		assert_int_equal(stage_add(&s, first ? &stays : &goes), 0);
		assert_int_equal(stage_run(&s), LANE_ENDED);
		assert_true(span_eq(came_out(&s, LIMPID_UP), span_of(text(), TEXT_BYTES)));
		assert_true(span_eq(came_out(&s, LIMPID_DOWN), span_of(text(), 100000)));
		assert_int_equal(goes.n_closes, 1); /* at once, not with the flow */
		assert_int_equal(goes.n_ends[0] + goes.n_ends[1], 0);
		assert_int_equal(stays.n_closes, 0);
		assert_int_equal(stays.n_ends[0] + stays.n_ends[1], 2);
		stage_done(&s);
		check_pairs(&goes);
		check_pairs(&stays);
	}
}

/* One direction left, the other is held until the first says that both are done. */
static void test_leave_releases_the_other_direction(void **state)
{
	struct actor a = { .act = ACT_HOLD, .leave_at = 1000 };
	int error = 0;
	struct stage s;

	(void)state;
	stage_init(&s, 1, text(), 1000, 700);
	s.ends[0].calm = s.ends[1].calm = true;
	assert_int_equal(stage_add(&s, &a), 0);
	end_note(&s.ends[0].end, READY_IN | READY_OUT);
	end_note(&s.ends[1].end, READY_IN | READY_OUT);
	lane_pump(&s.flow.down, &s.worker.tools, 700, &error);
	assert_int_equal(came_out(&s, LIMPID_DOWN).len, 0);
	assert_true(goes_on(lane_pump(&s.flow.up, &s.worker.tools, 1000, &error)));
	assert_true(task_is_queued(&s.flow.task)); /* somebody will look at the other lane */
	s.flow.down.paused = true;		   /* and need not read for that */
	assert_int_equal(lane_pump(&s.flow.down, &s.worker.tools, 1, &error), LANE_WAITS);
	assert_int_equal(came_out(&s, LIMPID_DOWN).len, 700);
	stage_done(&s);
	check_pairs(&a);
}

static void fails_with(enum act act, size_t n_bytes, enum lane_result expected)
{
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		struct actor before = { .act = ACT_PASS }, a = { .act = act };
		struct stage s;

		stage_init(&s, seed, text(), n_bytes, n_bytes);
		assert_int_equal(stage_add(&s, &before), 0);
		assert_int_equal(stage_add(&s, &a), 0);
		assert_int_equal(stage_run(&s), expected);
		stage_done(&s);
		check_pairs(&before);
		check_pairs(&a);
	}
}

static void test_ends_the_flow(void **state)
{
	(void)state;
	fails_with(ACT_END, TEXT_BYTES, LANE_ENDED_BY_FILTER);
	fails_with(ACT_FLOOD, 100, LANE_ENDED_BY_FILTER);
	fails_with(ACT_NONSENSE, 100, LANE_ENDED_BY_FILTER);
}

static void test_holds_too_much(void **state)
{
	uint8_t *much = calloc(1, LIMPID_HOLD_MAX_BYTES + 1);
	struct actor a = { .act = ACT_HOLD };
	struct stage s;

	(void)state;
	stage_init(&s, 1, much, LIMPID_HOLD_MAX_BYTES + 1, 0);
	assert_int_equal(stage_add(&s, &a), 0);
	assert_int_equal(stage_run(&s), LANE_HELD_TOO_MUCH);
	stage_done(&s);
	check_pairs(&a);
	free(much);
}

static void test_declines_or_cannot_open(void **state)
{
	struct actor declines = { .open_returns = LIMPID_DECLINE }, fails = { .open_returns = -5 };
	struct stage s;

	(void)state;
	stage_init(&s, 1, text(), 5000, 5000);
	assert_int_equal(stage_add(&s, &declines), 0);
	assert_int_equal(stage_add(&s, &fails), -5);
	assert_true(list_empty(&s.flow.up.filters) && list_empty(&s.flow.down.filters));
	assert_int_equal(stage_run(&s), LANE_ENDED);
	stage_done(&s);
	check_pairs(&declines);
	check_pairs(&fails);
}

/* The flow is closed while something is held, before anything was shown, after one end. */
static void test_flow_closed_early(void **state)
{
	(void)state;
	for (unsigned int turns = 0; turns < 40; turns++) {
		struct actor a = { .act = ACT_HOLD }, b = { .act = ACT_TWICE };
		struct stage s;
		int error = 0;

		stage_init(&s, turns, text(), 3000, 100000);
		assert_int_equal(stage_add(&s, &a), 0);
		assert_int_equal(stage_add(&s, &b), 0);
		for (unsigned int i = 0; i < turns; i++) {
			double_event(&s.ends[0]);
			double_event(&s.ends[1]);
			lane_pump(&s.flow.up, &s.worker.tools, 1000, &error);
			lane_pump(&s.flow.down, &s.worker.tools, 1000, &error);
		}
		stage_done(&s);
		check_pairs(&a);
		check_pairs(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_verdict),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_leave),
		cmocka_unit_test(test_leave_releases_the_other_direction),
		cmocka_unit_test(test_ends_the_flow),
		cmocka_unit_test(test_holds_too_much),
		cmocka_unit_test(test_declines_or_cannot_open),
		cmocka_unit_test(test_flow_closed_early),
	};

	text();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
