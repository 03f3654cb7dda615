/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over TCP that passes: what is learnt from it in whatever portions it comes, what is not, and
 * that what goes on is what came.
 */
#include "core/flow.h"
#include "core/names.h"
#include "core/worker.h"
#include "double.h"

#define TOTAL_BYTES ((size_t)96 << 10) /* limits.look-ahead-total */
#define ID 7

/* ---- a flow to a name server, without sockets ---- */

struct stage {
	struct flow flow;
	struct worker worker;
	struct realm realm;
	struct snapshot snapshot;
	struct double_end client, server;
	struct buf up, down; /* what has been said */
};

static void stage_init(struct stage *s, uint16_t port, size_t learnt_names)
{
	memset(s, 0, sizeof(*s));
	assert_int_equal(loop_init(&s->worker.loop), 0);
	s->worker.realm = &s->realm;
	s->realm.names = names_new(learnt_names);
	assert_non_null(s->realm.names);
	s->snapshot.limits.look_ahead_total_bytes = TOTAL_BYTES;
	double_init(&s->client, 1);
	double_init(&s->server, 2);
	s->client.keeps = s->server.keeps = s->client.calm = s->server.calm = true;
	s->client.end.writable = s->server.end.writable = true;
	s->flow.worker = &s->worker;
	s->flow.snapshot = &s->snapshot;
	s->flow.phase = PHASE_RELAY;
	s->flow.facts.client = (struct addr){ .family = 4, .port = 4000, .ip = { 10, 0, 0, 1 } };
	s->flow.facts.target = (struct addr){ .family = 4, .port = port, .ip = { 10, 0, 0, 53 } };
	task_init(&s->flow.task, NULL);
	lane_init(&s->flow.up, &s->client.end, &s->server.end);
	lane_init(&s->flow.down, &s->server.end, &s->client.end);
	s->flow.up.paused = s->flow.down.paused = true;
	flow_hear_names(&s->flow);
}

static void stage_done(struct stage *s)
{
	task_cancel(&s->flow.task);
	lane_done(&s->flow.up, &s->worker.tools);
	lane_done(&s->flow.down, &s->worker.tools);
	assert_int_equal(s->realm.look_ahead_bytes, 0);
	assert_true(span_eq(buf_span(&s->server.taken), buf_span(&s->up)));
	assert_true(span_eq(buf_span(&s->client.taken), buf_span(&s->down)));
	buf_done(&s->up);
	buf_done(&s->down);
	names_free(s->realm.names);
	loop_done(&s->worker.loop);
	double_done(&s->client);
	double_done(&s->server);
}

static void say(struct stage *s, struct lane *l, struct span bytes)
{
	uint8_t *copy = malloc(bytes.len + 1); /* the sanitizer sees where it ends */
	int error = 0;

	memcpy(copy, bytes.data, bytes.len);
	assert_int_equal(buf_append(l == &s->flow.up ? &s->up : &s->down, bytes, SIZE_MAX), 0);
	assert_int_equal(lane_offer(l, span_of(copy, bytes.len), &error), LANE_WAITS);
	free(copy);
	assert_int_equal(lane_pump(&s->flow.up, &s->worker.tools, 1, &error), LANE_WAITS);
	assert_int_equal(lane_pump(&s->flow.down, &s->worker.tools, 1, &error), LANE_WAITS);
}

/* In two portions. */
static void say_split(struct stage *s, struct lane *l, struct span bytes, size_t first)
{
	say(s, l, span_head(bytes, first));
	say(s, l, span_skip(bytes, first));
}

static bool listens(const struct stage *s)
{
	assert_int_equal(list_empty(&s->flow.up.filters), list_empty(&s->flow.down.filters));
	return !list_empty(&s->flow.up.filters);
}

static bool knows(struct stage *s, uint8_t last, const char *name)
{
	struct addr target = { .family = 4, .port = 443, .ip = { 192, 0, 2, last } };
	char *found = names_find(s->realm.names, &s->flow.facts.client, &target, 0);
	bool same = found && !strcmp(found, name);

	free(found);
	return same;
}

/* ---- messages ---- */

static void put(struct buf *b, const void *bytes, size_t n)
{
	assert_int_equal(buf_append(b, span_of(bytes, n), SIZE_MAX), 0);
}

/* A query for "<letter>.t". */
static void put_query(struct buf *b, uint8_t id, char letter, uint8_t type)
{
	const uint8_t m[] = { 0, 21,  0, id, 1,	   0, 0, 1, 0, 0, 0, 0, 0, 0, 1, (uint8_t)letter,
			      1, 't', 0, 0,  type, 0, 1 };

	put(b, m, sizeof(m));
}

/* And its answer, 192.0.2.@last, with @n_more bytes of something else behind. */
static void put_answer(struct buf *b, uint8_t id, char letter, uint8_t last, uint16_t n_more)
{
	uint16_t length = (uint16_t)(37 + 11 + n_more);
	const uint8_t m[] = { (uint8_t)(length >> 8),
			      (uint8_t)length,
			      0,
			      id,
			      0x81,
			      0x80,
			      0,
			      1,
			      0,
			      2,
			      0,
			      0,
			      0,
			      0,
			      1,
			      (uint8_t)letter,
			      1,
			      't',
			      0,
			      0,
			      1,
			      0,
			      1,
			      0xc0,
			      0x0c,
			      0,
			      1,
			      0,
			      1,
			      0,
			      0,
			      0,
			      60,
			      0,
			      4,
			      192,
			      0,
			      2,
			      last,
			      0,
			      0,
			      16,
			      0,
			      1,
			      0,
			      0,
			      0,
			      60,
			      (uint8_t)(n_more >> 8),
			      (uint8_t)n_more };
	uint8_t *more = calloc(1, (size_t)n_more + 1);

	put(b, m, sizeof(m));
	put(b, more, n_more);
	free(more);
}

/* ---- tests ---- */

/* Two queries at once, in odd case; the answers come in the other order, in any two portions. */
static void test_learns_in_any_portions(void **state)
{
	struct buf queries = { 0 }, answers = { 0 };

	put_query(&queries, ID, 'A', 1);
	put_query(&queries, ID + 1, 'b', 1);
	put_answer(&answers, ID + 1, 'B', 2, 5);
	put_answer(&answers, ID, 'a', 1, 0);
	for (size_t i = 0; i <= queries.len; i++)
		for (size_t k = 0; k <= answers.len; k++) {
			struct stage s;

			stage_init(&s, 53, 10);
			say_split(&s, &s.flow.up, buf_span(&queries), i);
			say_split(&s, &s.flow.down, buf_span(&answers), k);
			assert_true(listens(&s));
			assert_int_equal(s.realm.look_ahead_bytes, 0);
			assert_true(knows(&s, 1, "a.t") && knows(&s, 2, "b.t"));
			stage_done(&s);
		}
	buf_done(&queries);
	buf_done(&answers);
}

/* It has not been asked, or has been answered. */
static void test_answers_to_nothing(void **state)
{
	struct buf query = { 0 }, answers = { 0 };
	struct stage s;

	put_query(&query, ID, 'a', 1);
	put_query(&query, ID, 'x', 28);
	put_answer(&answers, ID + 1, 'a', 1, 0);
	put_answer(&answers, ID, 'b', 2, 0);
	put_answer(&answers, ID, 'x', 3, 0);
	put_answer(&answers, ID, 'a', 4, 0);
	put_answer(&answers, ID, 'a', 5, 0);
	stage_init(&s, 53, 10);
	say(&s, &s.flow.down, buf_span(&answers)); /* too early */
	say(&s, &s.flow.up, buf_span(&query));
	say(&s, &s.flow.down, buf_span(&answers));
	for (uint8_t last = 1; last <= 5; last++)
		assert_int_equal(knows(&s, last, "a.t"), last == 4);
	assert_true(listens(&s) && !knows(&s, 2, "b.t") && !knows(&s, 3, "x.t"));
	stage_done(&s);
	buf_done(&query);
	buf_done(&answers);
}

/* What is no DNS goes on, and nobody listens any more; whichever side says it. */
static void test_leaves_what_is_no_dns(void **state)
{
	static const char other[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";

	for (int up = 0; up < 2; up++) {
		struct stage s;
		struct lane *l = up ? &s.flow.up : &s.flow.down;

		stage_init(&s, 53, 10);
		say_split(&s, l, span_str(other), 5);
		assert_false(listens(&s));
		say(&s, &s.flow.up, span_str(other));
		say(&s, &s.flow.down, span_str(other));
		stage_done(&s);
	}
}

/* A long answer is kept while it comes; of what nobody asked, the header. */
static void test_memory(void **state)
{
	struct buf query = { 0 }, answer = { 0 };
	struct stage s;

	put_query(&query, ID, 'a', 1);
	put_answer(&answer, ID, 'a', 1, UINT16_MAX - 48);
	stage_init(&s, 53, 10);
	say_split(&s, &s.flow.down, buf_span(&answer), 40000);
	say(&s, &s.flow.up, buf_span(&query));
	say(&s, &s.flow.down, span_head(buf_span(&answer), 40000));
	assert_int_equal(s.realm.look_ahead_bytes, 40000 - 2);
	say(&s, &s.flow.down, span_skip(buf_span(&answer), 40000));
	assert_int_equal(s.realm.look_ahead_bytes, 0);
	assert_true(listens(&s) && knows(&s, 1, "a.t"));
	say(&s, &s.flow.down, span_head(buf_span(&answer), 40000));
	assert_int_equal(s.realm.look_ahead_bytes, 12);
	stage_done(&s); /* in the middle of it */

	stage_init(&s, 53, 10); /* others keep much already */
	s.realm.look_ahead_bytes = TOTAL_BYTES / 2 + 1;
	say(&s, &s.flow.up, buf_span(&query));
	assert_true(listens(&s));
	say(&s, &s.flow.down, span_head(buf_span(&answer), 40000));
	assert_false(listens(&s));
	assert_int_equal(s.realm.look_ahead_bytes, TOTAL_BYTES / 2 + 1);
	s.realm.look_ahead_bytes = 0;
	stage_done(&s);
	buf_done(&query);
	buf_done(&answer);
}

static void test_only_where_it_matters(void **state)
{
	struct stage s;

	stage_init(&s, 853, 10);
	assert_false(listens(&s));
	stage_done(&s);
	stage_init(&s, 53, 0);
	assert_false(listens(&s));
	stage_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_learns_in_any_portions),
		cmocka_unit_test(test_answers_to_nothing),
		cmocka_unit_test(test_leaves_what_is_no_dns),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_only_where_it_matters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
