/* SPDX-License-Identifier: Apache-2.0 */
/* The library: events in order, errors with a text, engines that keep apart, ends of all kinds. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "library_fixture.h"

static void test_events_in_order(void **state)
{
	struct house h;
	char expect[512];

	(void)state;
	house_init(&h);
	house_listen(&h);
	assert_int_equal(limpid_start(h.limpid), 0);
	exchange(&h);
	wait_closed(&h, 1);
	snprintf(expect, sizeof(expect),
		 "accepted dialling %s opened door client-finished server-finished "
		 "closed finished\n",
		 h.to);
	assert_string_equal(h.heard.events, expect);
	assert_int_equal(h.heard.up, 8);
	assert_int_equal(h.heard.down, 6);
	house_done(&h);
}

static void test_events_of_resets(void **state)
{
	struct house h;
	int c, s;

	(void)state;
	house_init(&h);
	house_listen(&h);
	assert_int_equal(limpid_start(h.limpid), 0);
	c = dial(&h.address);
	s = take_connection(h.server_fd);
	say(s, "hello");
	hear(c, "hello");
	hang_up_with_reset(s);
	hear_reset(c);
	wait_closed(&h, 1);
	assert_non_null(strstr(h.heard.events, "opened door server-reset closed server-reset\n"));
	close(c);
	c = dial(&h.address);
	s = take_connection(h.server_fd);
	say(c, "hello");
	hear(s, "hello");
	hang_up_with_reset(c);
	hear_reset(s);
	wait_closed(&h, 2);
	assert_non_null(strstr(h.heard.events, "opened door client-reset closed client-reset\n"));
	assert_null(strstr(h.heard.events, "error"));
	close(s);
	house_done(&h);
}

static void test_event_of_a_refused_server(void **state)
{
	struct house h;
	int c;

	(void)state;
	house_init(&h);
	house_listen(&h);
	assert_int_equal(limpid_start(h.limpid), 0);
	close(h.server_fd);
	c = dial(&h.address);
	hear_reset(c);
	close(c);
	wait_closed(&h, 1);
	assert_null(strstr(h.heard.events, "opened"));
	assert_non_null(strstr(h.heard.events, "error closed server-refused\n"));
	h.server_fd = -1;
	house_done(&h);
}

/* The address is taken: an event, a text, and a second try when it is free. */
static void test_listen_error(void **state)
{
	struct house h;
	char text[ADDR_TEXT_MAX];
	struct addr taken;
	int fd = listen_anywhere(&taken, 1);
	struct limpid_listener l = { .size = sizeof(l), .name = "second", .mode = LIMPID_FIXED };

	(void)state;
	house_init(&h);
	house_listen(&h);
	l.address = addr_format(&taken, text);
	l.to = h.to;
	assert_int_equal(limpid_add_listener(h.limpid, &l), 0);
	assert_int_equal(limpid_start(h.limpid), -EADDRINUSE);
	assert_non_null(strstr(limpid_error(h.limpid), text));
	assert_non_null(strstr(h.heard.events, "listen-error"));
	close(fd);
	assert_int_equal(limpid_start(h.limpid), 0);
	exchange(&h);
	wait_closed(&h, 1);
	house_done(&h);
}

static void *run_main(void *arg)
{
	assert_int_equal(limpid_run(arg), 0);
	return NULL;
}

/* Stopped with a flow that is open: both sides are reset, and the flow says why. */
static void test_run_until_stop(void **state)
{
	struct house h;
	pthread_t thread;
	int c, s;

	(void)state;
	house_init(&h);
	house_listen(&h);
	assert_int_equal(limpid_start(h.limpid), 0);
	pthread_create(&thread, NULL, run_main, h.limpid);
	c = dial(&h.address);
	s = take_connection(h.server_fd);
	limpid_stop(h.limpid);
	limpid_stop(h.limpid);
	pthread_join(thread, NULL);
	hear_reset(c);
	hear_reset(s);
	assert_non_null(strstr(h.heard.events, "closed shutdown\n"));
	assert_int_equal(limpid_run(h.limpid), 0); /* it has stopped: at once */
	assert_int_equal(limpid_start(h.limpid), -EBUSY);
	close(c);
	close(s);
	house_done(&h);
}

static void test_stopped_before_it_starts(void **state)
{
	struct house h;

	(void)state;
	house_init(&h);
	house_listen(&h);
	limpid_stop(h.limpid);
	assert_int_equal(limpid_run(h.limpid), 0);
	house_done(&h);
}

static void test_drain(void **state)
{
	struct house h;
	pthread_t thread;
	int c, s;

	(void)state;
	house_init(&h);
	house_listen(&h);
	assert_int_equal(limpid_start(h.limpid), 0);
	pthread_create(&thread, NULL, run_main, h.limpid);
	c = dial(&h.address);
	s = take_connection(h.server_fd);
	limpid_drain(h.limpid);
	nap_ms(20);
	say(c, "still here");
	hear(s, "still here");
	close(c);
	close(s);
	pthread_join(thread, NULL); /* it stops by itself */
	assert_non_null(strstr(h.heard.events, "closed finished\n"));
	house_done(&h);
}

static void stop_on_signal(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	limpid_stop(info->si_value.sival_ptr);
}

/* A signal comes to a thread of the embedder, never to one of the engine's. */
static void test_stopped_by_a_signal_handler(void **state)
{
	struct sigaction act = { .sa_sigaction = stop_on_signal, .sa_flags = SA_SIGINFO }, old;
	sigset_t usr1, pending;
	struct house h;

	(void)state;
	house_init(&h);
	house_listen(&h);
	assert_int_equal(limpid_start(h.limpid), 0);
	sigaction(SIGUSR1, &act, &old);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_ptr = h.limpid });
	nap_ms(20);
	sigpending(&pending);
	assert_true(sigismember(&pending, SIGUSR1)); /* nobody else took it */
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	assert_int_equal(limpid_run(h.limpid), 0);
	sigaction(SIGUSR1, &old, NULL);
	house_done(&h);
}

/* ---- configurations ---- */

static void configure(struct limpid *l, const char *yaml, int r)
{
	assert_int_equal(limpid_configure(l, yaml, strlen(yaml)), r);
}

static void test_configuration_in_memory(void **state)
{
	struct house h;
	char yaml[512];
	int c;

	(void)state;
	house_init(&h);
	snprintf(yaml, sizeof(yaml),
		 "listeners: [{ name: a, mode: fixed, address: \"%s\", to: \"%s\" }]\n"
		 "rules: [{ name: none, action: reject }]\n",
		 h.listen, h.to);
	configure(h.limpid, "listeners: [{ mode: nonsense }]\nrulez: []\n", -EINVAL);
	assert_non_null(strstr(limpid_error(h.limpid), "(memory):1:21: "));
	assert_non_null(strstr(limpid_error(h.limpid), "(memory):2:1: "));
	configure(h.limpid, yaml, 0);
	configure(h.limpid, yaml, -EBUSY);
	assert_int_equal(limpid_start(h.limpid), 0);
	c = dial(&h.address);
	hear_reset(c);
	close(c);
	wait_closed(&h, 1);
	assert_non_null(strstr(h.heard.events, "accepted closed rejected\n"));
	assert_null(strstr(h.heard.events, "error"));
	house_done(&h);
}

/* Rules from a configuration, the listener from code: what no rule matches is accepted. */
static void test_configuration_and_listener(void **state)
{
	struct house h;

	(void)state;
	house_init(&h);
	configure(h.limpid,
		  "rules: [{ name: one, match: { port: 1 }, action: reject }]\n"
		  "timeouts: { idle: 10s }\n",
		  0);
	house_listen(&h);
	assert_int_equal(limpid_start(h.limpid), 0);
	exchange(&h);
	wait_closed(&h, 1);
	house_done(&h);
}

static void test_errors_have_a_text(void **state)
{
	struct limpid_options no_options = { 0 };
	struct limpid_interceptor empty = { .size = sizeof(empty) };
	struct limpid_listener l = { .size = sizeof(l), .mode = (enum limpid_mode)9 };
	struct limpid *limpid;

	(void)state;
	assert_int_equal(limpid_new(&no_options, &limpid), -EINVAL);
	assert_int_equal(limpid_new(NULL, &limpid), 0);
	assert_string_equal(limpid_error(limpid), "");
	assert_int_equal(limpid_start(limpid), -EINVAL);
	assert_string_equal(limpid_error(limpid), "nothing to listen on");
	assert_int_equal(limpid_add_listener(limpid, &l), -EINVAL);
	l.mode = LIMPID_TPROXY;
	assert_int_equal(limpid_add_listener(limpid, &l), -EINVAL);
	assert_non_null(strstr(limpid_error(limpid), "no address"));
	l.address = "127.0.0.1";
	assert_int_equal(limpid_add_listener(limpid, &l), -EINVAL);
	assert_non_null(strstr(limpid_error(limpid), "'127.0.0.1'"));
	l.address = "127.0.0.1:80";
	l.source = (enum limpid_source)3;
	assert_int_equal(limpid_add_listener(limpid, &l), -EINVAL);
	l.source = LIMPID_SOURCE_KEEP;
	assert_int_equal(limpid_add_listener(limpid, &l), 0);
	l.name = "no name";
	assert_int_equal(limpid_add_listener(limpid, &l), -EINVAL);
	l.name = "tproxy-1";
	assert_int_equal(limpid_add_listener(limpid, &l), -EEXIST);
	l.mode = LIMPID_FIXED;
	l.name = "fixed";
	assert_int_equal(limpid_add_listener(limpid, &l), -EINVAL);
	l.to = "no-port.example";
	assert_int_equal(limpid_add_listener(limpid, &l), -EINVAL);
	l.to = "db.example:5432";
	assert_int_equal(limpid_add_listener(limpid, &l), 0);
	assert_int_equal(limpid_add_interceptor(limpid, &empty, NULL), -EINVAL);
	assert_int_equal(limpid_configure_file(limpid, "/nowhere"), -EBUSY);
	limpid_free(limpid);
	assert_int_equal(limpid_new(NULL, &limpid), 0);
	assert_int_equal(limpid_configure_file(limpid, "/nowhere"), -ENOENT);
	assert_non_null(strstr(limpid_error(limpid), "/nowhere"));
	limpid_free(limpid);
	limpid_free(NULL);
}

/* A program that was built when the structs were shorter or will be longer. */
static void test_structs_of_other_versions(void **state)
{
	struct {
		struct limpid_options options;
		char more[64];
	} later = { .options = { .size = sizeof(later), .threads = 1 } };
	struct limpid_events earlier = { .size = offsetof(struct limpid_events, closed),
					 .closed = (void *)-1 };
	struct limpid *limpid;

	(void)state;
	assert_int_equal(limpid_new(&later.options, &limpid), 0);
	assert_int_equal(limpid_set_events(limpid, &earlier, NULL), 0);
	earlier.size = 3;
	assert_int_equal(limpid_set_events(limpid, &earlier, NULL), -EINVAL);
	limpid_free(limpid);
}

/* ---- where lines go ---- */

/* Two engines at once: each line goes to its own log, or nowhere; none to stderr. */
static void test_logs_keep_apart(void **state)
{
	const struct rlimit few = { 4096, 4096 };
	struct house loud, mute;
	int saved = dup(STDERR_FILENO), null = memfd_create("stderr", MFD_CLOEXEC);
	struct heard *h;

	(void)state;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0); /* less than is configured */
	dup2(null, STDERR_FILENO);
	house_init(&loud);
	house_init(&mute);
	h = &loud.heard;
	assert_int_equal(limpid_set_log(loud.limpid, on_line, h), 0);
	configure(loud.limpid,
		  "limits: { flows: 1000000 }\n" /* a warning */
		  "log: { level: debug }\n",	 /* a second line for each flow */
		  0);
	configure(mute.limpid, "limits: { flows: 1000000 }\n", 0);
	house_listen(&loud);
	house_listen(&mute);
	assert_int_equal(limpid_start(loud.limpid), 0);
	assert_int_equal(limpid_start(mute.limpid), 0);
	assert_int_equal(h->n_lines, 1);
	assert_non_null(strstr(h->last_line, " | WARN | limits.flows is "));
	exchange(&mute);
	exchange(&loud);
	wait_closed(&loud, 1);
	wait_closed(&mute, 1);
	house_done(&mute);
	limpid_free(loud.limpid); /* what waits is written */
	loud.limpid = NULL;
	assert_int_equal(h->n_lines, 3);
	assert_non_null(strstr(h->last_line, " | DEBUG | 127.0.0.1 => "));
	assert_non_null(strstr(h->last_line, " | Close finished"));
	house_done(&loud);
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_int_equal(lseek(null, 0, SEEK_END), 0);
	close(null);
}

/* ---- an interceptor that leaves ---- */

static enum limpid_verdict leave_data(struct limpid_flow *flow, void *state,
				      enum limpid_direction direction, const uint8_t *bytes,
				      size_t len, bool end, struct limpid_output *out)
{
	(void)state;
	(void)direction;
	(void)bytes;
	(void)end;
	(void)out;
	if (limpid_flow_bytes(flow, LIMPID_UP) > 1 << 20)
		limpid_leave(flow);
	return len ? LIMPID_PASS : LIMPID_HOLD;
}

static void bulk(struct house *h, uint64_t n_up)
{
	int c = dial(&h->address), s = take_connection(h->server_fd);
	struct mover a = { .fd = c, .n_send = n_up }, b = { .fd = s, .n_receive = n_up };

	bulk_run(&a, &b);
	close(c);
	close(s);
}

static void test_leaving_makes_the_lane_fast(void **state)
{
	static const struct limpid_interceptor leaver = { .size = sizeof(leaver),
							  .name = "leaver",
							  .data = leave_data };
	struct house h;

	(void)state;
	house_init(&h);
	house_listen(&h);
	assert_int_equal(limpid_add_interceptor(h.limpid, &leaver, NULL), 0);
	assert_int_equal(limpid_start(h.limpid), 0);
	bulk(&h, 1 << 20); /* it stays */
	wait_closed(&h, 1);
	assert_false(h.heard.spliced);
	bulk(&h, 64 << 20);
	wait_closed(&h, 2);
	assert_true(h.heard.spliced);
	assert_int_equal(h.heard.up, 64 << 20);
	house_done(&h);
}

static int refuse_open(struct limpid_flow *flow, void *conf, void **ret_state)
{
	(void)conf;
	(void)ret_state;
	return limpid_flow_id(flow) % 2 ? -EPERM : 0;
}

/* It fails for one flow: that one ends, the next goes on. */
static void test_interceptor_fails_one_flow(void **state)
{
	static const struct limpid_interceptor fussy = {
		.size = sizeof(fussy), .name = "fussy", .open = refuse_open, .data = leave_data
	};
	struct house h;
	int c;

	(void)state;
	house_init(&h);
	house_listen(&h);
	assert_int_equal(limpid_add_interceptor(h.limpid, &fussy, NULL), 0);
	assert_int_equal(limpid_start(h.limpid), 0);
	c = dial(&h.address);
	hear_reset(c);
	close(c);
	close(take_connection(h.server_fd));
	wait_closed(&h, 1);
	assert_non_null(strstr(h.heard.events, "opened door error closed filter\n"));
	exchange(&h);
	wait_closed(&h, 2);
	assert_non_null(strstr(h.heard.events, "closed finished\n"));
	house_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events_in_order),
		cmocka_unit_test(test_events_of_resets),
		cmocka_unit_test(test_event_of_a_refused_server),
		cmocka_unit_test(test_listen_error),
		cmocka_unit_test(test_run_until_stop),
		cmocka_unit_test(test_stopped_before_it_starts),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_stopped_by_a_signal_handler),
		cmocka_unit_test(test_configuration_in_memory),
		cmocka_unit_test(test_configuration_and_listener),
		cmocka_unit_test(test_errors_have_a_text),
		cmocka_unit_test(test_structs_of_other_versions),
		cmocka_unit_test(test_logs_keep_apart),
		cmocka_unit_test(test_leaving_makes_the_lane_fast),
		cmocka_unit_test(test_interceptor_fails_one_flow),
	};

	pattern();
	return cmocka_run_group_tests(tests, namespace_enter, NULL);
}
