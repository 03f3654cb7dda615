/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_WHY_EXPLICIT_H
#define UNIT_WHY_EXPLICIT_H

#include "core/proxy_facts.h"

/* The part of why_test.c about clients that know of limpid: what they say to it. */

/* ---- a client that says to limpid what it should not ---- */

static void hear_page_and_fin(int c, const char *status)
{
	char got[4096];
	size_t n = 0;
	ssize_t r;

	while ((r = read(c, got + n, sizeof(got) - n)) > 0)
		n += (size_t)r;
	assert_int_equal(r, 0);
	assert_memory_equal(got, status, strlen(status));
}

/* A header that only others may send. */
static void test_untrusted(void **state)
{
	struct proxy_header_conf conf = { .required = true };
	struct rig r;
	int c;

	(void)state;
	rig_init(&r);
	r.listener.learners[r.listener.n_learners++] =
		(struct learner){ .ops = &proxy_header_learner_ops, .conf = &conf };
	rig_start(&r);
	c = dial(&r.listener.address);
	hear_reset(c);
	expect(&r, 1, WHY_UNTRUSTED);
	close(c);
	rig_stop(&r);
}

static void test_greetings(void **state)
{
	static const struct {
		const char *said, *status;
		enum why why;
	} cases[] = {
		{ "HELO x\r\n", "HTTP/1.1 400 ", WHY_GREETING },
		{ "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 407 ", WHY_LOGIN },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig r;
		int c;

		rig_init(&r);
		r.listener.learners[0].ops = &http_proxy_learner_ops;
		r.listener.users = (struct users *)&r; /* nobody: it is not asked without a name */
		rig_start(&r);
		c = dial(&r.listener.address);
		say(c, cases[i].said);
		hear_page_and_fin(c, cases[i].status);
		close(c);
		expect(&r, 1, cases[i].why);
		rig_stop(&r);
	}
}

static void test_socks_greetings(void **state)
{
	static const struct socks_conf conf;
	const struct {
		struct users *users;
		const char *says;
		size_t bytes;
		const char *answer;
		size_t answer_bytes;
		enum why why;
	} cases[] = {
		{ NULL, "GET", 3, "", 0, WHY_GREETING },
		{ NULL, "\5\1\1", 3, "\5\377", 2, WHY_GREETING },
		{ (struct users *)state, "\5\1\0", 3, "\5\377", 2, WHY_LOGIN },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig r;
		int c;

		rig_init(&r);
		r.listener.learners[0] =
			(struct learner){ .ops = &socks_learner_ops, .conf = &conf };
		r.listener.users = cases[i].users; /* not asked without a name */
		rig_start(&r);
		c = dial(&r.listener.address);
		say_bytes(c, cases[i].says, cases[i].bytes);
		hear_bytes(c, cases[i].answer, cases[i].answer_bytes);
		hear_fin(c); /* the answer can be read to its end */
		close(c);
		expect(&r, 1, cases[i].why);
		rig_stop(&r);
	}
}

/* A client that waits for its server to connect. */
static void test_socks_bind(void **state)
{
	static const struct socks_conf conf;
	static const char request[] = "\5\1\0\5\2\0\1\x7f\0\0\2\0\x15";
	static const enum why whys[] = { WHY_BIND_REFUSED, WHY_BIND_TIMEOUT };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(whys); i++) {
		const char *answer =
			whys[i] == WHY_BIND_REFUSED ? "\2\0\1\0\0\0\0\0\0" : "\6\0\1\0\0\0\0\0\0";
		uint8_t first[10];
		struct rig r;
		int c;

		rig_init(&r);
		r.listener.learners[0] =
			(struct learner){ .ops = &socks_learner_ops, .conf = &conf };
		r.realm.parts.accept_dialer = &accept_dialer_ops;
		r.rules[0].plan.bind = whys[i] == WHY_BIND_TIMEOUT;
		r.snapshot.timeouts.bind_ms = 50;
		rig_start(&r);
		c = dial(&r.listener.address);
		say_bytes(c, request, sizeof(request) - 1);
		hear_bytes(c, "\5\0", 2);
		if (whys[i] == WHY_BIND_TIMEOUT) { /* where it listens */
			assert_int_equal(recv(c, first, sizeof(first), MSG_WAITALL), sizeof(first));
			assert_memory_equal(first, "\5\0\0\1\x7f\0\0\1", 8);
		}
		hear_bytes(c, "\5", 1);
		hear_bytes(c, answer, 9);
		hear_fin(c);
		close(c);
		expect(&r, 1, whys[i]);
		rig_stop(&r);
	}
}

#endif
