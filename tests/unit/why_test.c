/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every reason for which a flow can end is brought about, through a whole worker, and its two
 * clients are shown what they should see: FIN only when all went well, RST otherwise.
 */
#include "flow_fixture.h"

#include "core/filter.h"
#include "dial/accept.h"

#define HEAD(host) "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n"

static const uint32_t sniffs = 1u << PROTOCOL_TLS | 1u << PROTOCOL_HTTP;

/* What the tests before have seen. */
static bool seen[WHY_COUNT];

static void test_words_and_texts(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < WHY_COUNT; i++) {
		const char *word = why_word((enum why)i), *text = why_text((enum why)i);

		assert_true(strlen(word) > 1 && strlen(text) > strlen(word));
		for (const char *c = word; *c; c++)
			assert_true((*c >= 'a' && *c <= 'z') || *c == '-');
		for (unsigned int k = 0; k < i; k++)
			assert_string_not_equal(word, why_word((enum why)k));
	}
	assert_int_equal(WHY_OPEN, 0); /* zero is a valid initial value */
}

static void expect(struct rig *r, unsigned int n, enum why why)
{
	rig_expect(r, n, why);
	seen[why] = true;
}

#include "why_explicit.h"

static void test_finished(void **state)
{
	struct rig r;
	int c, s;

	(void)state;
	rig_init(&r);
	rig_start(&r);
	c = dial(&r.listener.address);
	s = take_connection(r.server_fd);
	shutdown(c, SHUT_WR);
	hear_fin(s);
	shutdown(s, SHUT_WR);
	hear_fin(c);
	expect(&r, 1, WHY_FINISHED);
	close(c);
	close(s);
	rig_stop(&r);
}

static void test_resets(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_start(&r);
	for (unsigned int i = 0; i < 2; i++) {
		int c = dial(&r.listener.address), s = take_connection(r.server_fd);

		say(s, "x"); /* heard: the flow is being relayed */
		hear(c, "x");
		hang_up_with_reset(i ? s : c);
		hear_reset(i ? c : s);
		expect(&r, i + 1, i ? WHY_SERVER_RESET : WHY_CLIENT_RESET);
		close(i ? c : s);
	}
	rig_stop(&r);
}

/* ---- an end that stops answering: the kernel says so by ETIMEDOUT ---- */

static ssize_t lost_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	ssize_t n = tcp_stream_ops.read(s, dst, cap_bytes);

	if (n > 0 && memchr(dst, '!', (size_t)n)) { /* the tests' sign */
		s->end->failed = true;
		return -ETIMEDOUT;
	}
	return n;
}

static void test_lost(void **state)
{
	struct stream_ops ops = tcp_stream_ops;
	struct rig r;

	(void)state;
	ops.read = lost_read;
	rig_init(&r);
	r.realm.parts.socket = &ops;
	rig_start(&r);
	for (unsigned int i = 0; i < 2; i++) {
		int c = dial(&r.listener.address), s = take_connection(r.server_fd);

		say(s, "x");
		hear(c, "x");
		say(i ? s : c, "!");
		hear_reset(i ? c : s);
		expect(&r, i + 1, i ? WHY_SERVER_LOST : WHY_CLIENT_LOST);
		close(c);
		close(s);
	}
	rig_stop(&r);
}

/* ---- layers that fail: they say so by EPROTO ---- */

static ssize_t layer_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	ssize_t n = tcp_stream_ops.read(s, dst, cap_bytes);

	return n > 0 && memchr(dst, '!', (size_t)n) ? -EPROTO : n;
}

static void test_layers(void **state)
{
	struct stream_ops ops = tcp_stream_ops;
	struct rig r;

	(void)state;
	ops.read = layer_read;
	rig_init(&r);
	r.realm.parts.socket = &ops;
	rig_start(&r);
	for (unsigned int i = 0; i < 2; i++) {
		int c = dial(&r.listener.address), s = take_connection(r.server_fd);

		say(s, "x");
		hear(c, "x");
		say(i ? s : c, "!");
		hear_reset(i ? c : s);
		expect(&r, i + 1, i ? WHY_SERVER_TLS : WHY_CLIENT_TLS);
		close(c);
		close(s);
	}
	rig_stop(&r);
}

/* ---- servers that cannot be had ---- */

static void test_refused_unreachable_loop(void **state)
{
	struct addr refused, nowhere;
	const struct {
		const struct addr *target;
		enum why why;
	} cases[] = {
		{ &refused, WHY_SERVER_REFUSED },
		{ &nowhere, WHY_SERVER_UNREACHABLE },
		{ NULL, WHY_LOOP },
	};

	(void)state;
	close(listen_anywhere(&refused, 1));
	assert_int_equal(addr_parse("192.0.2.1:80", &nowhere), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig r;
		int c;

		rig_init(&r);
		r.listener.learners[0].conf =
			cases[i].target ? cases[i].target : &r.listener.address;
		rig_start(&r);
		c = dial(&r.listener.address);
		hear_reset(c);
		expect(&r, 1, cases[i].why);
		close(c);
		rig_stop(&r);
	}
}

/* A listening socket whose backlog is full: SYNs are dropped. */
static void test_timeout_and_client_gone(void **state)
{
	struct addr full;
	int filler[3], l = listen_anywhere(&full, 0);
	struct rig r;
	int c;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(filler); i++) {
		filler[i] = sock_connect(&full, NULL, false, 0, NULL);
		assert_true(filler[i] >= 0);
	}
	nap_ms(20);
	rig_init(&r);
	r.listener.learners[0].conf = &full;
	r.snapshot.timeouts.connect_ms = 300;
	rig_start(&r);
	c = dial(&r.listener.address);
	assert_false(is_readable(c, 100));
	hear_reset(c);
	expect(&r, 1, WHY_CONNECT_TIMEOUT);
	close(c);
	c = dial(&r.listener.address);
	nap_ms(50);
	hang_up_with_reset(c);
	expect(&r, 2, WHY_CLIENT_GONE);
	rig_stop(&r);
	for (unsigned int i = 0; i < ARRAY_SIZE(filler); i++)
		close(filler[i]);
	close(l);
}

static void test_no_target(void **state)
{
	struct rig r;
	int c;

	(void)state;
	rig_init(&r);
	r.listener.n_learners = 0;
	rig_start(&r);
	c = dial(&r.listener.address);
	hear_reset(c);
	expect(&r, 1, WHY_NO_TARGET);
	close(c);
	rig_stop(&r);
}

/* The client's own socket has its ip:port: it cannot be had a second time. */
static void test_source(void **state)
{
	struct rig r;
	int c;

	(void)state;
	rig_init(&r);
	r.rules[0].plan = (struct plan){ .source = SOURCE_KEEP, .strict = true };
	rig_start(&r);
	c = dial(&r.listener.address);
	hear_reset(c);
	expect(&r, 1, WHY_SOURCE);
	close(c);
	rig_stop(&r);
}

/* ---- refused by policy ---- */

static void test_denied_rejected(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct rig r;
		int c;

		rig_init(&r);
		r.rules[0].verdict = i ? VERDICT_REJECT : VERDICT_DENY;
		rig_start(&r);
		c = dial(&r.listener.address);
		hear_reset(c);
		expect(&r, 1, i ? WHY_REJECTED : WHY_DENIED);
		assert_false(is_readable(r.server_fd, 0));
		close(c);
		rig_stop(&r);
	}
}

static void test_names(void **state)
{
	struct nameset *names = nameset_new();
	struct rig r;
	int c, s;

	(void)state;
	assert_int_equal(nameset_add(names, "bad.test"), 0);
	for (unsigned int i = 0; i < 3; i++) {
		static const enum why whys[] = { WHY_NARROWED, WHY_LOOK_AHEAD, WHY_LIMIT };

		rig_init(&r);
		r.listener.learners[r.listener.n_learners++] =
			(struct learner){ .ops = &sniff_learner_ops, .conf = &sniffs };
		r.rules[0] = (struct rule){ .match.domain = names, .verdict = VERDICT_REJECT };
		r.policy.n_rules = i == 1 ? 1 : 2;
		r.snapshot.timeouts.sniff_ms = i ? 5000 : 50;
		r.snapshot.limits.look_ahead_bytes = 20;
		r.snapshot.limits.look_ahead_total_bytes = i == 2 ? 10 : 100;
		if (!i)
			r.snapshot.limits.look_ahead_bytes = 1000;
		rig_start(&r);
		c = dial(&r.listener.address);
		s = i ? -1 : take_connection(r.server_fd);
		say(c, i == 2 ? "GET /not/all" : HEAD("bad.test"));
		hear_reset(c);
		expect(&r, 1, whys[i]);
		close(c);
		close(s);
		rig_stop(&r);
	}
	nameset_free(names);
}

/* ---- time ---- */

static void test_idle_and_half_closed(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t start_ms;
		struct rig r;
		int c, s;

		rig_init(&r);
		r.snapshot.timeouts.idle_ms = i ? 60000 : 1500;
		r.snapshot.timeouts.half_closed_ms = i ? 1500 : 60000;
		rig_start(&r);
		c = dial(&r.listener.address);
		s = take_connection(r.server_fd);
		if (i)
			shutdown(c, SHUT_WR);
		for (unsigned int k = 0; k < 5; k++) { /* what moves does not end */
			nap_ms(400);
			say(s, "x");
			hear(c, "x");
		}
		start_ms = clock_now_ms();
		assert_int_equal(hear_reset(c), 0);
		assert_true(clock_now_ms() - start_ms >= 1400); /* never early */
		expect(&r, 1, i ? WHY_HALF_CLOSED : WHY_IDLE);
		close(c);
		close(s);
		rig_stop(&r);
	}
}

static void test_shutdown(void **state)
{
	struct rig r;
	int c, s;

	(void)state;
	rig_init(&r);
	rig_start(&r);
	c = dial(&r.listener.address);
	s = take_connection(r.server_fd);
	rig_stop(&r);
	assert_int_equal(r.n_ended, 1);
	assert_int_equal(r.ended[0].why, WHY_SHUTDOWN);
	seen[WHY_SHUTDOWN] = true;
	hear_reset(c);
	hear_reset(s);
	close(c);
	close(s);
}

/* ---- interceptors ---- */

static enum filter_verdict moody_data(struct filter *f, struct span in, bool end, struct buf *out)
{
	static const uint8_t many[1u << 20];

	(void)f;
	(void)end;
	if (!in.len)
		return FILTER_PASS;
	switch (in.data[0]) {
	case 'h':
		return FILTER_HOLD;
	case 'e':
		return FILTER_END;
	case 'm': /* more than anybody will keep */
		for (unsigned int i = 0; i < 32; i++)
			(void)buf_append(out, span_of(many, sizeof(many)), SIZE_MAX);
		return FILTER_REPLACE;
	default:
		return FILTER_PASS;
	}
}

static void moody_free(struct filter *f)
{
	free(f);
}

static void moody_open(struct flow *f)
{
	static const struct filter_ops ops = { .name = "moody",
					       .data = moody_data,
					       .free = moody_free };
	struct filter *filter = calloc(1, sizeof(*filter));

	filter->ops = &ops;
	list_add_tail(&f->up.filters, &filter->link);
	raw_proto_ops.open(f);
}

static void test_filters(void **state)
{
	static const struct {
		const char *first;
		size_t n;
		enum why why;
	} cases[] = {
		{ "hold", 400000, WHY_HELD },
		{ "end", 0, WHY_FILTER },
		{ "many", 0, WHY_HELD },
	};
	struct proto_ops ops = raw_proto_ops;

	(void)state;
	ops.open = moody_open;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig r;
		int c, s;

		rig_init(&r);
		r.realm.parts.proto = &ops;
		rig_start(&r);
		c = dial(&r.listener.address);
		s = take_connection(r.server_fd);
		say(c, "pass");
		hear(s, "pass");
		say(c, cases[i].first);
		if (cases[i].n)
			(void)!send(c, pattern(), cases[i].n, MSG_NOSIGNAL);
		hear_reset(c);
		expect(&r, 1, cases[i].why);
		hear_reset(s);
		close(c);
		close(s);
		rig_stop(&r);
	}
}

/* ---- a target that is a name, and a dialer that cannot get it ---- */

static enum learn_result name_learn(struct flow *f, const struct learner *l, struct span look,
				    bool last)
{
	(void)l, (void)look, (void)last;
	f->facts.target_name = strdup("name.test");
	f->facts.target.port = 80;
	return LEARN_DONE;
}

static int no_such_name(struct flow *f)
{
	f->why = WHY_NAME_UNKNOWN;
	return -ECANCELED;
}

static int proxy_failed(struct flow *f)
{
	f->why = WHY_PROXY_FAILED;
	return -ECANCELED;
}

static int proxy_login(struct flow *f)
{
	f->why = WHY_PROXY_LOGIN;
	return -ECANCELED;
}

static int proxy_refused(struct flow *f)
{
	f->why = WHY_PROXY_REFUSED;
	return -ECANCELED;
}

static int never_resolved(struct flow *f)
{
	f->resolving = true;
	return 0;
}

static int not_dialled(struct flow *f)
{
	(void)f;
	return -EAGAIN;
}

static void test_target_names(void **state)
{
	static const struct learner_ops learner = { .name = "name", .learn = name_learn };
	static const struct dialer_ops dialers[] = {
		{ .name = "none", .dial = no_such_name, .dialled = not_dialled },
		{ .name = "never", .dial = never_resolved, .dialled = not_dialled },
		{ .name = "failed", .dial = proxy_failed, .dialled = not_dialled },
		{ .name = "login", .dial = proxy_login, .dialled = not_dialled },
		{ .name = "refused", .dial = proxy_refused, .dialled = not_dialled },
	};
	static const enum why whys[] = { WHY_NAME_UNKNOWN, WHY_NAME_FAILED,   WHY_PROXY_FAILED,
					 WHY_PROXY_LOGIN,  WHY_PROXY_REFUSED, WHY_NO_TARGET };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(whys); i++) {
		struct rig r;
		int c;

		rig_init(&r);
		r.listener.learners[0].ops = &learner;
		r.realm.parts.name_dialer = i < ARRAY_SIZE(dialers) ? &dialers[i] : NULL;
		r.snapshot.timeouts.connect_ms = 50;
		rig_start(&r);
		c = dial(&r.listener.address);
		hear_reset(c);
		expect(&r, 1, whys[i]);
		close(c);
		rig_stop(&r);
	}
}

/* Last. */
static void test_none_was_left_out(void **state)
{
	(void)state;
	for (unsigned int i = WHY_OPEN + 1; i < WHY_COUNT; i++)
		/* nobody outside can bring the first about; the other is of datagrams */
		if (!seen[i] && i != WHY_INTERNAL && i != WHY_EVICTED)
			fail_msg("no test ends a flow as %s", why_word((enum why)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_and_texts),
		cmocka_unit_test(test_finished),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_refused_unreachable_loop),
		cmocka_unit_test(test_timeout_and_client_gone),
		cmocka_unit_test(test_no_target),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_denied_rejected),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_idle_and_half_closed),
		cmocka_unit_test(test_shutdown),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_target_names),
		cmocka_unit_test(test_untrusted),
		cmocka_unit_test(test_greetings),
		cmocka_unit_test(test_socks_greetings),
		cmocka_unit_test(test_socks_bind),
		cmocka_unit_test(test_none_was_left_out),
	};

	pattern();
	return cmocka_run_group_tests(tests, namespace_enter, NULL);
}
