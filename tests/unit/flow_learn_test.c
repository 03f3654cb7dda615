/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learning, through a whole worker: learners that look, consume, reply and answer; policy that
 * needs a name; early dial, denial, narrowing; limits of the look-ahead.
 */
#include "flow_fixture.h"

#define HEAD(host) "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n"

static const uint32_t sniffs = 1u << PROTOCOL_TLS | 1u << PROTOCOL_HTTP;

/* ---- a learner like SOCKS: a greeting, a reply, a request, and an answer after the dial ---- */

struct toy {
	unsigned int step;
	size_t shown;
};

static enum learn_result toy_request(struct flow *f, struct span look)
{
	size_t len = look.len ? look.data[0] : 0;
	char text[256];

	if (!look.len || look.len < 1 + len)
		return LEARN_MORE;
	memcpy(text, look.data + 1, len);
	text[len] = '\0';
	if (addr_parse(text, &f->facts.target) < 0) {
		f->why = WHY_NO_TARGET;
		return LEARN_FAILED;
	}
	flow_consume(f, 1 + len);
	return LEARN_DONE;
}

static enum learn_result toy_learn(struct flow *f, const struct learner *l, struct span look,
				   bool last)
{
	struct toy *t = f->learner_state;

	if (!t)
		t = f->learner_state = calloc(1, sizeof(*t));
	else
		assert_true(last || look.len > t->shown); /* again only with more */
	t->shown = look.len;
	if (t->step == 1)
		return toy_request(f, look);
	if (look.len < 2)
		return LEARN_MORE;
	if (memcmp(look.data, "HI", 2) != 0 || flow_reply(f, span_str("hi")) < 0) {
		f->why = WHY_INTERNAL;
		return LEARN_FAILED;
	}
	flow_greeted(f, l);
	flow_consume(f, 2);
	t->step = 1;
	t->shown = 0;
	return look.len > 2 ? LEARN_AGAIN : LEARN_MORE;
}

static int toy_answer(struct flow *f, const struct learner *l, enum why outcome)
{
	(void)l;
	return flow_reply(f, span_str(outcome == WHY_OPEN ? "OK" : why_word(outcome)));
}

static void toy_forget(struct flow *f)
{
	free(f->learner_state);
	f->learner_state = NULL;
}

static const struct learner_ops toy_ops = {
	.name = "toy",
	.consumes = true,
	.learn = toy_learn,
	.answer = toy_answer,
	.forget = toy_forget,
};

static void toy_rig(struct rig *r, bool sniff)
{
	rig_init(r);
	r->listener.learners[0] = (struct learner){ .ops = &toy_ops };
	if (sniff)
		r->listener.learners[r->listener.n_learners++] =
			(struct learner){ .ops = &sniff_learner_ops, .conf = &sniffs };
}

/* "HI", then the target, then @data. */
static size_t toy_talk(char *dst, size_t cap, const struct addr *target, const char *data)
{
	char text[ADDR_TEXT_MAX];

	addr_format(target, text);
	return (size_t)snprintf(dst, cap, "HI%c%s%s", (int)strlen(text), text, data);
}

/* Client and server have found each other; speak and end. */
static void converse(struct rig *r, int c, int s, unsigned int n)
{
	say(s, "welcome");
	hear(c, "welcome");
	say(c, "more");
	hear(s, "more");
	close(c);
	hear_fin(s);
	close(s);
	rig_expect(r, n, WHY_FINISHED);
}

static void test_greeting_with_data_behind(void **state)
{
	char talk[256];
	struct rig r;
	size_t n;

	(void)state;
	for (int sniff = 0; sniff < 2; sniff++) {
		int c, s;

		toy_rig(&r, sniff);
		rig_start(&r);
		n = toy_talk(talk, sizeof(talk), &r.server, "and data");
		c = dial(&r.listener.address);
		say_bytes(c, talk, n);
		hear(c, "hiOK");
		s = take_connection(r.server_fd);
		hear(s, "and data");
		converse(&r, c, s, 1);
		assert_int_equal(r.ended[0].up_bytes, 8 + 4); /* what was consumed does not count */
		assert_int_equal(r.ended[0].down_bytes, 7);
		rig_stop(&r);
	}
}

static void test_greeting_split_anywhere(void **state)
{
	char talk[256];
	struct rig r;
	size_t len;

	(void)state;
	toy_rig(&r, false);
	rig_start(&r);
	len = toy_talk(talk, sizeof(talk), &r.server, "and data");
	for (size_t at = 1; at < len; at++) {
		int c = dial(&r.listener.address), s;

		say_bytes(c, talk, at);
		nap_ms(2);
		say_bytes(c, talk + at, len - at);
		hear(c, "hiOK");
		s = take_connection(r.server_fd);
		hear(s, "and data");
		converse(&r, c, s, (unsigned int)at);
	}
	rig_stop(&r);
}

static void test_greeting_byte_by_byte(void **state)
{
	char talk[256];
	struct rig r;
	size_t len;
	int c, s;

	(void)state;
	toy_rig(&r, true);
	rig_start(&r);
	len = toy_talk(talk, sizeof(talk), &r.server, HEAD("a.test"));
	c = dial(&r.listener.address);
	for (size_t i = 0; i < len; i++) {
		say_bytes(c, talk + i, 1);
		nap_ms(1);
	}
	hear(c, "hiOK");
	s = take_connection(r.server_fd);
	hear(s, HEAD("a.test"));
	converse(&r, c, s, 1);
	assert_string_equal(r.ended[0].host, "a.test");
	rig_stop(&r);
}

/* A client that takes turns, as those of SOCKS do: the reply must come without more bytes. */
static void test_greeting_in_turns_server_first(void **state)
{
	char talk[256];
	struct rig r;
	size_t len;
	int c, s;

	(void)state;
	toy_rig(&r, true);
	rig_start(&r);
	len = toy_talk(talk, sizeof(talk), &r.server, "");
	c = dial(&r.listener.address);
	say(c, "HI");
	hear(c, "hi");
	say_bytes(c, talk + 2, len - 2);
	s = take_connection(r.server_fd);
	say(s, "banner");
	hear(c, "OKbanner");
	say(c, "x");
	hear(s, "x");
	converse(&r, c, s, 1);
	rig_stop(&r);
}

static void test_greeting_abandoned(void **state)
{
	struct rig r;
	int c;

	(void)state;
	toy_rig(&r, false);
	r.snapshot.timeouts.sniff_ms = 100;
	rig_start(&r);
	c = dial(&r.listener.address);
	say(c, "HI\x10" "12");
	hear(c, "hi");
	hang_up_with_reset(c);
	rig_expect(&r, 1, WHY_CLIENT_RESET);
	c = dial(&r.listener.address); /* says nothing: there is nobody to be dialled */
	hear_reset(c);
	rig_expect(&r, 2, WHY_NO_TARGET);
	close(c);
	c = dial(&r.listener.address);
	say(c, "HI\x10" "12");
	shutdown(c, SHUT_WR);
	rig_expect(&r, 3, WHY_NO_TARGET);
	close(c);
	c = dial(&r.listener.address);
	say(c, "no greeting");
	rig_expect(&r, 4, WHY_INTERNAL); /* the reason is the learner's to say */
	close(c);
	rig_stop(&r);
}

static void test_answer_says_why_not(void **state)
{
	struct addr closed;
	char talk[256];
	struct rig r;
	size_t len;
	int c;

	(void)state;
	close(listen_anywhere(&closed, 1)); /* nobody listens there any more */
	for (unsigned int k = 0; k < 3; k++) {
		enum why expect = k == 0 ? WHY_SERVER_REFUSED : k == 1 ? WHY_REJECTED : WHY_DENIED;

		toy_rig(&r, false);
		if (k)
			r.rules[0].verdict = k == 1 ? VERDICT_REJECT : VERDICT_DENY;
		rig_start(&r);
		len = toy_talk(talk, sizeof(talk), &closed, "data");
		c = dial(&r.listener.address);
		say_bytes(c, talk, len);
		hear(c, "hi");
		hear(c, why_word(expect)); /* protocols that ask get their refusal */
		hear_fin(c);
		say(c, "what was on its way is no reason to lose the answer");
		close(c);
		rig_expect(&r, 1, expect);
		rig_stop(&r);
	}
}

/* ---- a learner like the PROXY header: the target is known, but what comes first is ours ---- */

static enum learn_result header_learn(struct flow *f, const struct learner *l, struct span look,
				      bool last)
{
	static const char header[] = "PROXY\n";

	(void)l;
	(void)last;
	if (look.len < strlen(header))
		return LEARN_MORE;
	flow_consume(f, strlen(header));
	return LEARN_DONE;
}

static const struct learner_ops header_ops = {
	.name = "header",
	.consumes = true,
	.learn = header_learn,
};

static void test_header_never_reaches_the_server(void **state)
{
	static const char talk[] = "PROXY\nhello";
	struct rig r;

	(void)state;
	rig_init(&r);
	r.listener.learners[r.listener.n_learners++] = (struct learner){ .ops = &header_ops };
	rig_start(&r);
	for (unsigned int pause = 0; pause < 2; pause++) {
		int c = dial(&r.listener.address), s;

		for (size_t i = 0; i < strlen(talk); i++) {
			say_bytes(c, talk + i, 1);
			nap_ms(pause * 2);
		}
		s = take_connection(r.server_fd);
		hear(s, "hello");
		converse(&r, c, s, pause + 1);
	}
	rig_stop(&r);
}

/* ---- policy that needs a name ---- */

/* What the first rules do with the name @host; the last accepts the rest. */
static struct nameset *rig_names(struct rig *r, const char *host, enum verdict verdict)
{
	struct nameset *names = nameset_new();

	assert_int_equal(nameset_add(names, host), 0);
	rig_init(r);
	r->listener.learners[r->listener.n_learners++] =
		(struct learner){ .ops = &sniff_learner_ops, .conf = &sniffs };
	r->rules[0] = (struct rule){ .match.domain = names, .verdict = verdict };
	r->rules[1] = (struct rule){ .verdict = VERDICT_ACCEPT };
	r->policy.n_rules = 2;
	return names;
}

static void test_name_decides(void **state)
{
	struct nameset *names;
	struct rig r;
	int c, s;

	(void)state;
	names = rig_names(&r, "bad.test", VERDICT_REJECT);
	rig_start(&r);
	c = dial(&r.listener.address);
	assert_false(is_readable(r.server_fd, 50)); /* not before the name is known */
	say(c, HEAD("good.test") "body");
	s = take_connection(r.server_fd);
	hear(s, HEAD("good.test") "body");
	converse(&r, c, s, 1);
	assert_string_equal(r.ended[0].host, "good.test");
	c = dial(&r.listener.address);
	say(c, HEAD("bad.test"));
	assert_int_equal(hear_reset(c), 0);
	rig_expect(&r, 2, WHY_REJECTED);
	assert_false(is_readable(r.server_fd, 50));
	close(c);
	rig_stop(&r);
	nameset_free(names);
}

static void test_name_byte_by_byte(void **state)
{
	static const char talk[] = HEAD("good.test") "and a body";
	struct nameset *names;
	struct rig r;
	int c, s;

	(void)state;
	names = rig_names(&r, "bad.test", VERDICT_REJECT);
	rig_start(&r);
	c = dial(&r.listener.address);
	for (size_t i = 0; i < strlen(talk); i++) {
		say_bytes(c, talk + i, 1);
		nap_ms(1);
	}
	s = take_connection(r.server_fd);
	hear(s, talk);
	converse(&r, c, s, 1);
	rig_stop(&r);
	nameset_free(names);
}

static void test_early_dial(void **state)
{
	struct nameset *names;
	struct rig r;
	int c, s;

	(void)state;
	names = rig_names(&r, "good.test", VERDICT_ACCEPT); /* alike, whatever the name */
	rig_start(&r);
	c = dial(&r.listener.address);
	s = take_connection(r.server_fd); /* the client has said nothing */
	say(s, "220 ready");
	hear(c, "220 ready");
	say(c, "GET / HT");
	assert_false(is_readable(s, 50)); /* kept while policy is not final */
	say(c, "TP/1.1\r\nHost: good.test\r\n\r\n");
	hear(s, HEAD("good.test"));
	converse(&r, c, s, 1);
	assert_string_equal(r.ended[0].host, "good.test");
	c = dial(&r.listener.address); /* half a head, and then nothing: it goes on in time */
	s = take_connection(r.server_fd);
	rig_stop(&r);
	nameset_free(names);
	close(c);
	close(s);
}

static void test_kept_bytes_go_on_in_time(void **state)
{
	struct nameset *names;
	struct rig r;
	int c, s;

	(void)state;
	names = rig_names(&r, "good.test", VERDICT_ACCEPT);
	r.snapshot.timeouts.sniff_ms = 100;
	rig_start(&r);
	c = dial(&r.listener.address);
	s = take_connection(r.server_fd);
	say(c, "GET / HT");
	assert_false(is_readable(s, 30));
	hear(s, "GET / HT");
	say(c, "TP/1.1\r\nHost: good.test\r\n\r\n");
	hear(s, "TP/1.1\r\nHost: good.test\r\n\r\n");
	converse(&r, c, s, 1);
	rig_stop(&r);
	nameset_free(names);
}

static void test_narrowing(void **state)
{
	struct nameset *names;
	struct rig r;
	int c, s;

	(void)state;
	names = rig_names(&r, "bad.test", VERDICT_REJECT);
	r.snapshot.timeouts.sniff_ms = 50;
	rig_start(&r);
	c = dial(&r.listener.address);
	s = take_connection(r.server_fd); /* the client stayed silent too long: decided */
	say(s, "banner");
	hear(c, "banner");
	say(c, HEAD("bad.test"));
	assert_int_equal(hear_reset(c), 0);
	assert_int_equal(hear_reset(s), 0); /* and not a byte of it got there */
	rig_expect(&r, 1, WHY_NARROWED);
	close(c);
	close(s);
	rig_stop(&r);
	nameset_free(names);
}

static void test_denied_is_held_then_reset(void **state)
{
	struct nameset *names;
	uint64_t start_ms;
	struct rig r;
	int c;

	(void)state;
	names = rig_names(&r, "bad.test", VERDICT_DENY);
	r.snapshot.timeouts.deny_ms = 1500;
	rig_start(&r);
	c = dial(&r.listener.address);
	say(c, "GET / HTTP/1.1\r\n");
	nap_ms(10);
	say(c, "Host: bad.test\r\n\r\n");
	start_ms = clock_now_ms();
	for (unsigned int ms = 0; ms < 1000 && atomic_load(&r.realm.look_ahead_bytes); ms++)
		nap_ms(1); /* nobody needs what it said any longer */
	assert_int_equal(atomic_load(&r.realm.look_ahead_bytes), 0);
	assert_int_equal(rig_n_ended(&r), 0);
	assert_false(is_readable(c, 100));
	assert_int_equal(hear_reset(c), 0);
	assert_true(clock_now_ms() - start_ms >= 1400);
	rig_expect(&r, 1, WHY_DENIED);
	assert_false(is_readable(r.server_fd, 0));
	close(c);
	c = dial(&r.listener.address);
	say(c, HEAD("bad.test"));
	nap_ms(50);
	close(c); /* it left first */
	rig_expect(&r, 2, WHY_DENIED);
	rig_stop(&r);
	nameset_free(names);
}

/* ---- limits of the look-ahead ---- */

static void test_limit_per_flow(void **state)
{
	char *head = malloc(20000);
	struct nameset *names;
	struct rig r;
	int c, s;

	(void)state;
	memset(head, 'a', 20000);
	memcpy(head, "GET /", 5);
	for (unsigned int rest = 0; rest < 2; rest++) {
		names = rig_names(&r, "good.test", VERDICT_ACCEPT);
		r.policy.n_rules = 1 + rest;
		r.rules[1].plan.offload = OFFLOAD_COPY; /* not alike: no early dial */
		r.snapshot.limits.look_ahead_bytes = 4096;
		rig_start(&r);
		c = dial(&r.listener.address);
		say_bytes(c, head, 20000);
		if (rest) {
			s = take_connection(r.server_fd);
			hear_bytes(s, head, 20000);
			converse(&r, c, s, 1);
		} else {
			hear_reset(c);
			rig_expect(&r, 1, WHY_LOOK_AHEAD);
			close(c);
		}
		rig_stop(&r);
		nameset_free(names);
	}
	free(head);
}

static void test_limit_of_all_flows(void **state)
{
	struct nameset *names;
	char head[601];
	struct rig r;
	int c[3];

	(void)state;
	memset(head, 'a', sizeof(head));
	memcpy(head, "GET /", 5);
	names = rig_names(&r, "bad.test", VERDICT_REJECT);
	r.snapshot.limits.look_ahead_total_bytes = 1000;
	rig_start(&r);
	for (unsigned int i = 0; i < 3; i++) {
		c[i] = dial(&r.listener.address);
		say_bytes(c[i], head, 600);
		while (i == 0 && atomic_load(&r.realm.look_ahead_bytes) < 600)
			nap_ms(1);
	}
	hear_reset(c[1]);
	hear_reset(c[2]);
	rig_expect(&r, 1, WHY_LIMIT);
	rig_expect(&r, 2, WHY_LIMIT);
	assert_int_equal(atomic_load(&r.realm.look_ahead_bytes), 600);
	hang_up_with_reset(c[0]);
	rig_expect(&r, 3, WHY_CLIENT_RESET);
	close(c[1]);
	close(c[2]);
	rig_stop(&r);
	nameset_free(names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greeting_with_data_behind),
		cmocka_unit_test(test_greeting_split_anywhere),
		cmocka_unit_test(test_greeting_byte_by_byte),
		cmocka_unit_test(test_greeting_in_turns_server_first),
		cmocka_unit_test(test_greeting_abandoned),
		cmocka_unit_test(test_answer_says_why_not),
		cmocka_unit_test(test_header_never_reaches_the_server),
		cmocka_unit_test(test_name_decides),
		cmocka_unit_test(test_name_byte_by_byte),
		cmocka_unit_test(test_early_dial),
		cmocka_unit_test(test_kept_bytes_go_on_in_time),
		cmocka_unit_test(test_narrowing),
		cmocka_unit_test(test_denied_is_held_then_reset),
		cmocka_unit_test(test_limit_per_flow),
		cmocka_unit_test(test_limit_of_all_flows),
	};

	return cmocka_run_group_tests(tests, namespace_enter, NULL);
}
