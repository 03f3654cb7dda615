/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a filter may ask for, one by one; then random chains of filters whose effect does not
 * depend on the portions in which bytes come, against the same effect on the whole.
 */
#include "core/filter.h"
#include "double.h"

#define TEXT_BYTES 60000
#define CHAIN_MAX 4

/* ---- a filter that does what the test says ---- */

struct puppet {
	struct filter f;
	enum filter_verdict verdict;
	const char *out;
	bool leave;
	unsigned int n_calls, n_freed;
	char seen[64];
	bool end;
};

static enum filter_verdict puppet_data(struct filter *f, struct span in, bool end, struct buf *out)
{
	struct puppet *p = container_of(f, struct puppet, f);

	p->n_calls++;
	p->end = end;
	snprintf(p->seen, sizeof(p->seen), "%.*s", (int)in.len, (const char *)in.data);
	assert_int_equal(out->len, 0);
	f->leave = p->leave;
	if (p->out)
		assert_int_equal(buf_append(out, span_str(p->out), FILTER_OUT_MAX_BYTES), 0);
	return p->verdict;
}

static void puppet_free(struct filter *f)
{
	container_of(f, struct puppet, f)->n_freed++;
}

static const struct filter_ops puppet_ops = {
	.name = "puppet",
	.data = puppet_data,
	.free = puppet_free,
};

static void puppet_init(struct puppet *p)
{
	*p = (struct puppet){ .f.ops = &puppet_ops };
	list_init(&p->f.link);
}

/* Show @in; check the return, and what goes on. */
static void show(struct puppet *p, const char *in, bool end, int r, const char *goes_on)
{
	struct buf scratch = { 0 };
	struct span out = span_str("not set");

	assert_int_equal(filter_run(&p->f, span_str(in), end, &scratch, &out), r);
	if (!r)
		assert_true(span_eq_str(out, goes_on));
	buf_done(&scratch);
}

static void test_pass(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	show(&p, "one", false, 0, "one");
	show(&p, "", true, 0, "");
	assert_int_equal(p.n_calls, 2);
	filter_remove(&p.f);
	assert_int_equal(p.n_freed, 1);
}

static void test_replace(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	p.verdict = FILTER_REPLACE;
	p.out = "!";
	show(&p, "shorter", false, 0, "!");
	p.out = "very much longer";
	show(&p, "long", false, 0, "very much longer");
	p.out = NULL;
	show(&p, "dropped", false, 0, "");
	p.out = "at the end";
	show(&p, "", true, 0, "at the end");
	filter_remove(&p.f);
}

static void test_hold(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	show(&p, "ab", false, 0, "");
	show(&p, "cd", false, 0, "");
	assert_string_equal(p.seen, "abcd");
	p.verdict = FILTER_PASS;
	show(&p, "e", false, 0, "abcde");
	show(&p, "f", false, 0, "f"); /* not held any more */
	assert_string_equal(p.seen, "f");
	p.verdict = FILTER_HOLD;
	show(&p, "gh", false, 0, "");
	p.verdict = FILTER_REPLACE;
	p.out = "G";
	show(&p, "i", false, 0, "G");
	assert_string_equal(p.seen, "ghi");
	p.out = NULL;
	p.verdict = FILTER_PASS;
	show(&p, "j", false, 0, "j");
	filter_remove(&p.f);
}

static void test_hold_at_the_end_is_pass(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	show(&p, "ab", false, 0, "");
	show(&p, "", true, 0, "ab");
	assert_true(p.end);
	filter_remove(&p.f);
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	show(&p, "last", true, 0, "last");
	filter_remove(&p.f);
}

static void test_hold_and_leave(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	show(&p, "ab", false, 0, "");
	p.leave = true; /* what it holds goes on */
	show(&p, "cd", false, 0, "abcd");
	filter_remove(&p.f);
}

static void test_removed_with_something_held(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	show(&p, "ab", false, 0, "");
	filter_remove(&p.f); /* does not leak */
}

static void test_end_of_the_flow(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	show(&p, "ab", false, 0, "");
	p.verdict = FILTER_END;
	show(&p, "cd", false, -ECONNABORTED, NULL);
	filter_remove(&p.f);
}

static void test_hold_is_bounded(void **state)
{
	static char portion[1025];
	struct puppet p;
	size_t held = 0;

	(void)state;
	memset(portion, 'x', sizeof(portion) - 1);
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	for (; held + 1024 <= FILTER_HOLD_MAX_BYTES; held += 1024)
		show(&p, portion, false, 0, "");
	show(&p, "y", false, -EMSGSIZE, NULL);
	filter_remove(&p.f);
}

/* However much is shown, what counts is what is kept. */
static void test_held_and_a_large_block(void **state)
{
	char *large = malloc(FILTER_HOLD_MAX_BYTES + 2);
	struct buf scratch = { 0 };
	struct puppet p;
	struct span out;

	(void)state;
	memset(large, 'x', FILTER_HOLD_MAX_BYTES + 1);
	large[FILTER_HOLD_MAX_BYTES + 1] = '\0';
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	show(&p, "y", false, 0, "");
	p.verdict = FILTER_PASS;
	assert_int_equal(filter_run(&p.f, span_str(large), false, &scratch, &out), 0);
	assert_int_equal(out.len, FILTER_HOLD_MAX_BYTES + 2);
	assert_int_equal(p.f.held.len, 0);
	buf_done(&scratch);
	filter_remove(&p.f);
	free(large);
}

static void test_hold_too_much_at_once(void **state)
{
	char *large = malloc(FILTER_HOLD_MAX_BYTES + 2);
	struct puppet p;

	(void)state;
	memset(large, 'x', FILTER_HOLD_MAX_BYTES + 1);
	large[FILTER_HOLD_MAX_BYTES + 1] = '\0';
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	show(&p, large, false, -EMSGSIZE, NULL);
	filter_remove(&p.f);
	free(large);
}

/* ---- chains ---- */

enum effect {
	EFFECT_NONE,	/* pass */
	EFFECT_UPPER,	/* replaced, same length */
	EFFECT_DOUBLE,	/* longer */
	EFFECT_STRIP,	/* shorter, often empty */
	EFFECT_LINES,	/* hold until a new line, then pass */
	EFFECT_REVERSE, /* hold until a new line, then the line backwards */
	EFFECT_LEAVE,	/* pass some, then leave */
	EFFECT_HOARD,	/* hold some, then leave */
	EFFECT_TAIL,	/* pass, and add a word at the end */
	EFFECT_COUNT
};

struct link_filter {
	struct filter f;
	enum effect effect;
	size_t n_seen, n_left;
	unsigned int n_ends;
};

static void put(struct buf *b, const void *data, size_t n)
{
	assert_int_equal(buf_append(b, span_of(data, n), SIZE_MAX), 0);
}

/* Each byte by itself. */
static void effect_bytes(enum effect effect, struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.data[i];
		uint8_t two[2] = { c, c };

		if (effect == EFFECT_UPPER)
			c = c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c;
		if (effect == EFFECT_DOUBLE)
			put(out, two, 2);
		else if (effect != EFFECT_STRIP || c % 16 == 1)
			put(out, &c, 1);
	}
}

/* Whole lines backwards; the unfinished last one only at the @end.  Return: bytes used. */
static size_t effect_reverse(struct span in, bool end, struct buf *out)
{
	size_t start = 0;

	for (size_t i = 0; i < in.len; i++) {
		if (in.data[i] != '\n' && !(end && i + 1 == in.len))
			continue;
		for (size_t k = i + 1; k-- > start;)
			put(out, &in.data[k], 1);
		start = i + 1;
	}
	return start;
}

static void effect_whole(enum effect effect, struct span in, struct buf *out)
{
	switch (effect) {
	case EFFECT_UPPER:
	case EFFECT_DOUBLE:
	case EFFECT_STRIP:
		effect_bytes(effect, in, out);
		return;
	case EFFECT_REVERSE:
		effect_reverse(in, true, out);
		return;
	case EFFECT_TAIL:
		put(out, in.data, in.len);
		put(out, "The End", 7);
		return;
	case EFFECT_NONE:
	case EFFECT_LINES:
	case EFFECT_LEAVE:
	case EFFECT_HOARD:
	case EFFECT_COUNT:
		put(out, in.data, in.len);
		return;
	}
}

static enum filter_verdict link_lines(struct link_filter *l, struct span in, bool end,
				      struct buf *out)
{
	if (!end && (!in.len || in.data[in.len - 1] != '\n') && in.len < 20000)
		return FILTER_HOLD;
	if (l->effect == EFFECT_LINES)
		return FILTER_PASS;
	if (!end && in.data[in.len - 1] != '\n')
		return FILTER_HOLD;
	effect_reverse(in, end, out);
	return FILTER_REPLACE;
}

static enum filter_verdict link_data(struct filter *f, struct span in, bool end, struct buf *out)
{
	struct link_filter *l = container_of(f, struct link_filter, f);

	assert_false(f->leave);
	assert_int_equal(l->n_ends, 0);
	assert_true(in.len || end);
	l->n_ends += end;
	l->n_seen += in.len;
	switch (l->effect) {
	case EFFECT_NONE:
		if (l->n_seen % 3 == 0) /* what it leaves in @out does not count */
			put(out, "not to be sent", 14);
		return FILTER_PASS;
	case EFFECT_UPPER:
	case EFFECT_DOUBLE:
	case EFFECT_STRIP:
		effect_bytes(l->effect, in, out);
		return FILTER_REPLACE;
	case EFFECT_LINES:
	case EFFECT_REVERSE:
		return link_lines(l, in, end, out);
	case EFFECT_LEAVE:
		f->leave = l->n_seen > 5000;
		return FILTER_PASS;
	case EFFECT_HOARD:
		f->leave = in.len > 9000;
		return FILTER_HOLD;
	case EFFECT_TAIL:
		if (!end)
			return FILTER_PASS;
		effect_whole(l->effect, in, out);
		return FILTER_REPLACE;
	case EFFECT_COUNT:
		break;
	}
	return FILTER_END;
}

static void link_free(struct filter *f)
{
	free(container_of(f, struct link_filter, f));
}

static const struct filter_ops link_ops = {
	.name = "link",
	.data = link_data,
	.free = link_free,
};

static void add_link(struct lane *l, enum effect effect)
{
	struct link_filter *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->f.ops = &link_ops;
	f->effect = effect;
	list_add_tail(&l->filters, &f->f.link);
}

/* What comes out of the chain is what its effects make of the whole, one after the other. */
static void run_chain(const enum effect *effects, unsigned int n, struct span text, uint32_t seed)
{
	struct lane_tools tools = { .buffer = malloc(4096), .buffer_bytes = 4096 };
	enum lane_result r = LANE_WAITS;
	struct double_end from, to;
	struct buf expect = { 0 };
	struct lane lane;
	int error = 0;

	pipe_pool_init(&tools.pipes, 2);
	double_init(&from, seed);
	double_init(&to, seed + 1000);
	from.gives = text.data;
	from.n_gives = text.len;
	to.keeps = true;
	lane_init(&lane, &from.end, &to.end);
	put(&expect, text.data, text.len);
	for (unsigned int i = 0; i < n; i++) {
		struct buf made = { 0 };

		add_link(&lane, effects[i]);
		effect_whole(effects[i], buf_span(&expect), &made);
		buf_done(&expect);
		expect = made;
	}
	while (r == LANE_WAITS || r == LANE_BUSY) {
		double_event(&from);
		double_event(&to);
		r = lane_pump(&lane, &tools, 8192, &error);
	}
	assert_int_equal(r, LANE_ENDED);
	if (!span_eq(buf_span(&expect), buf_span(&to.taken)))
		fail_msg("chain %d %d %d %d, seed %u: %zu bytes instead of %zu, or others",
			 effects[0], effects[1], effects[2], effects[3], seed, to.taken.len,
			 expect.len);
	lane_done(&lane, &tools);
	pipe_pool_done(&tools.pipes);
	free(tools.buffer);
	buf_done(&expect);
	double_done(&from);
	double_done(&to);
}

static void make_text(uint8_t *text, size_t n, uint32_t *seed)
{
	for (size_t i = 0; i < n; i++)
		text[i] = double_random(seed) % 60 ? (uint8_t)('A' + double_random(seed) % 58)
						   : '\n';
}

static void test_pairs_and_triples(void **state)
{
	static uint8_t text[9500];
	uint32_t seed = 5;

	(void)state;
	make_text(text, sizeof(text), &seed);
	for (unsigned int i = 0; i < EFFECT_COUNT * EFFECT_COUNT * EFFECT_COUNT; i++) {
		enum effect e[CHAIN_MAX] = { (enum effect)(i % EFFECT_COUNT),
					     (enum effect)(i / EFFECT_COUNT % EFFECT_COUNT),
					     (enum effect)(i / EFFECT_COUNT / EFFECT_COUNT) };

		run_chain(e, 3, span_of(text, sizeof(text)), i);
	}
}

static void test_random_chains(void **state)
{
	static uint8_t text[TEXT_BYTES];
	uint32_t seed = 77;

	(void)state;
	for (unsigned int k = 0; k < 300; k++) {
		unsigned int n = 1 + double_random(&seed) % CHAIN_MAX;
		size_t len = double_random(&seed) % (k % 3 ? 100 : sizeof(text));
		enum effect e[CHAIN_MAX] = { 0 };

		for (unsigned int i = 0; i < n; i++)
			e[i] = (enum effect)(double_random(&seed) % EFFECT_COUNT);
		make_text(text, len, &seed);
		run_chain(e, n, span_of(text, len), k);
	}
}

/* ---- how a lane ends by a filter ---- */

static enum lane_result run_puppet(struct puppet *p, uint64_t n_gives)
{
	struct lane_tools tools = { .buffer = malloc(65536), .buffer_bytes = 65536 };
	enum lane_result r = LANE_WAITS;
	struct double_end from, to;
	struct lane lane;
	int error = 0;

	pipe_pool_init(&tools.pipes, 2);
	double_init(&from, 3);
	double_init(&to, 4);
	from.n_gives = n_gives;
	to.keeps = true;
	lane_init(&lane, &from.end, &to.end);
	list_add_tail(&lane.filters, &p->f.link);
	while (r == LANE_WAITS || r == LANE_BUSY) {
		double_event(&from);
		double_event(&to);
		r = lane_pump(&lane, &tools, 1u << 20, &error);
	}
	lane_done(&lane, &tools);
	pipe_pool_done(&tools.pipes);
	free(tools.buffer);
	double_done(&from);
	double_done(&to);
	return r;
}

static void test_lane_ends_by_filter(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	p.verdict = FILTER_END;
	assert_int_equal(run_puppet(&p, 1000), LANE_ENDED_BY_FILTER);
	assert_int_equal(p.n_calls, 1);
	assert_int_equal(p.n_freed, 1);
	puppet_init(&p);
	p.verdict = FILTER_END;
	assert_int_equal(run_puppet(&p, 0), LANE_ENDED_BY_FILTER); /* it saw only the end */
}

static void test_lane_holds_too_much(void **state)
{
	struct puppet p;

	(void)state;
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	assert_int_equal(run_puppet(&p, FILTER_HOLD_MAX_BYTES + 1), LANE_HELD_TOO_MUCH);
	puppet_init(&p);
	p.verdict = FILTER_HOLD;
	assert_int_equal(run_puppet(&p, FILTER_HOLD_MAX_BYTES), LANE_ENDED);
	assert_int_equal(p.n_freed, 1);
}

/* lane_show(): @in through the lane's filters; check the return, and what goes on. */
static void show_lane(struct lane *l, const char *in, bool end, int r, const char *goes_on)
{
	struct buf out = { 0 };

	assert_int_equal(lane_show(l, span_str(in), end, &out), r);
	if (!r)
		assert_true(span_eq_str(buf_span(&out), goes_on));
	buf_done(&out);
}

/* Of those who look at what does not go through the lane, one holds, and leaves between two
 * blocks; who looks at nothing is not asked. */
static void test_lane_shows(void **state)
{
	struct puppet first, second;
	struct lane l;

	(void)state;
	lane_init(&l, NULL, NULL);
	puppet_init(&first);
	puppet_init(&second);
	list_add_tail(&l.filters, &first.f.link);
	list_add_tail(&l.filters, &second.f.link);
	show_lane(&l, "one", false, 0, "one");
	first.verdict = FILTER_HOLD;
	show_lane(&l, "two", false, 0, "");
	assert_int_equal(second.n_calls, 1);
	first.f.leave = l.stirred = true;
	show_lane(&l, "", false, 0, "two");
	assert_int_equal(first.n_calls, 2);
	assert_int_equal(first.n_freed, 1);
	assert_false(l.stirred);
	show_lane(&l, "", false, 0, "");
	assert_int_equal(second.n_calls, 2);
	show_lane(&l, "", true, 0, "");
	assert_true(second.end);
	second.verdict = FILTER_END;
	show_lane(&l, "x", false, -ECONNABORTED, NULL);
	lane_drop_filters(&l);
	assert_int_equal(second.n_freed, 1);
	assert_true(list_empty(&l.filters));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lane_shows),
		cmocka_unit_test(test_pass),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_hold_at_the_end_is_pass),
		cmocka_unit_test(test_hold_and_leave),
		cmocka_unit_test(test_removed_with_something_held),
		cmocka_unit_test(test_end_of_the_flow),
		cmocka_unit_test(test_hold_is_bounded),
		cmocka_unit_test(test_held_and_a_large_block),
		cmocka_unit_test(test_hold_too_much_at_once),
		cmocka_unit_test(test_pairs_and_triples),
		cmocka_unit_test(test_random_chains),
		cmocka_unit_test(test_lane_ends_by_filter),
		cmocka_unit_test(test_lane_holds_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
