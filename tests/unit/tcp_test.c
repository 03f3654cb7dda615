/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lowest layer on real TCP over the loopback: when its sticky bits are cleared, and that a
 * reset is never taken for an end.  The bits are set as the loop would set them, from what
 * epoll says.
 */
#include <sys/epoll.h>

#include "flow_fixture.h"
#include "sys/pipe.h"

struct wire {
	struct end end;
	int peer, epoll_fd;
	struct pipe_pool pipes;
};

static void wire_init_how(struct wire *w, unsigned int how)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	struct addr a;
	int l = listen_anywhere(&a, 4);

	end_init(&w->end, NULL, &tcp_stream_ops);
	pipe_pool_init(&w->pipes, 2);
	w->end.fd = sock_connect(&a, NULL, how, 0, NULL);
	assert_true(end_is_open(&w->end));
	w->peer = take_connection(l);
	close(l);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->end.fd, &ev), 0);
}

static void wire_init(struct wire *w)
{
	wire_init_how(w, 0);
}

static void wire_done(struct wire *w)
{
	end_close(&w->end, true);
	end_close(&w->end, true); /* idempotent */
	assert_false(end_is_open(&w->end));
	if (w->peer >= 0)
		close(w->peer);
	close(w->epoll_fd);
	pipe_pool_done(&w->pipes);
}

/* Take note of the edges that have come, after at most @wait_ms.  Return: were there any? */
static bool wire_edges(struct wire *w, int wait_ms)
{
	struct epoll_event ev;

	if (epoll_wait(w->epoll_fd, &ev, 1, wait_ms) < 1)
		return false;
	end_note(&w->end, ev.events);
	return true;
}

static void wire_settle(struct wire *w)
{
	while (wire_edges(w, 20))
		;
}

/* Until the kernel has it; takes no edge away. */
static void wire_await(struct wire *w, short events)
{
	struct pollfd p = { .fd = w->end.fd, .events = events };

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static ssize_t wire_read(struct wire *w, size_t cap)
{
	uint8_t *dst = malloc(cap);
	ssize_t n = stream_read(w->end.top, dst, cap);

	free(dst);
	return n;
}

static void test_short_read_waits_for_an_edge(void **state)
{
	struct wire w;

	(void)state;
	wire_init(&w);
	wire_settle(&w);
	w.end.readable = true;
	assert_int_equal(wire_read(&w, 100), -EAGAIN);
	assert_false(w.end.readable);
	say(w.peer, "12345678");
	assert_true(wire_edges(&w, WAIT_MS));
	assert_true(end_can_read(&w.end));
	assert_int_equal(wire_read(&w, 4), 4);
	assert_true(w.end.readable); /* all that was asked for: there may be more */
	assert_int_equal(wire_read(&w, 100), 4);
	assert_false(w.end.readable);
	say(w.peer, "9"); /* and so an edge must come now */
	assert_true(wire_edges(&w, WAIT_MS));
	assert_true(w.end.readable);
	assert_int_equal(wire_read(&w, 100), 1);
	wire_done(&w);
}

static bool has_no_delay(const struct wire *w)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(w->end.fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
	return value;
}

/* Who speaks first has the usual options when they matter.  (What becomes of ACKs is seen where
 * the handshake waits for the first bytes: in the lab.) */
static void speak_first(bool by_push)
{
	struct wire w;

	wire_init_how(&w, SOCK_SPEAK_FIRST);
	w.end.opening = END_SPEAKS_FIRST;
	wire_settle(&w);
	assert_false(has_no_delay(&w));
	assert_int_equal(stream_write(w.end.top, (const uint8_t *)"first", 5), 5);
	assert_false(has_no_delay(&w));
	if (by_push) {
		struct pipe *p = pipe_get(&w.pipes);

		assert_int_equal(write(p->write_fd, "second", 6), 6);
		p->len_bytes = 6;
		assert_int_equal(w.end.top->ops->push(w.end.top, p), 6);
		pipe_put(&w.pipes, p);
	} else {
		assert_int_equal(stream_write(w.end.top, (const uint8_t *)"second", 6), 6);
	}
	assert_true(has_no_delay(&w));
	wire_done(&w);
}

static void test_options_of_who_speaks_first(void **state)
{
	(void)state;
	speak_first(false);
	speak_first(true);
}

/* FIN and bytes in one edge: there is no other, so the short read must not end reading. */
static void test_fin_behind_a_short_read(void **state)
{
	struct wire w;

	(void)state;
	wire_init(&w);
	wire_settle(&w);
	say(w.peer, "last");
	shutdown(w.peer, SHUT_WR);
	wire_await(&w, POLLRDHUP);
	wire_settle(&w);
	assert_true(w.end.hup && !w.end.failed);
	assert_int_equal(wire_read(&w, 100), 4);
	assert_true(w.end.readable);
	assert_int_equal(wire_read(&w, 100), 0);
	assert_int_equal(wire_read(&w, 100), 0);
	assert_int_equal(stream_write(w.end.top, (const uint8_t *)"answer", 6), 6);
	hear(w.peer, "answer"); /* half closed */
	assert_int_equal(stream_finish(w.end.top), 0);
	hear_fin(w.peer);
	wire_done(&w);
}

/* FIN after the short read brings an edge of its own. */
static void test_fin_after_a_short_read(void **state)
{
	struct wire w;

	(void)state;
	wire_init(&w);
	wire_settle(&w);
	say(w.peer, "last");
	assert_true(wire_edges(&w, WAIT_MS));
	assert_int_equal(wire_read(&w, 100), 4);
	assert_false(w.end.readable);
	shutdown(w.peer, SHUT_WR);
	assert_true(wire_edges(&w, WAIT_MS));
	assert_true(w.end.readable && w.end.hup);
	assert_int_equal(wire_read(&w, 100), 0);
	wire_done(&w);
}

/* Read all by read or by splice: bytes first, then the reset, for ever, and never an end. */
static void drain_reset(struct wire *w, size_t expect, bool by_pull)
{
	struct pipe *p = by_pull ? pipe_get(&w->pipes) : NULL;
	size_t got = 0;
	ssize_t n;

	do {
		n = by_pull ? w->end.top->ops->pull(w->end.top, p, SIZE_MAX) : wire_read(w, 1000);
		assert_int_not_equal(n, -EAGAIN);
		got += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	assert_int_equal(n, -ECONNRESET);
	assert_int_equal(got, expect);
	for (unsigned int k = 0; k < 3; k++) {
		assert_int_equal(wire_read(w, 1000), -ECONNRESET);
		if (!p)
			continue;
		n = w->end.top->ops->pull(w->end.top, p, SIZE_MAX);
		assert_int_equal(n, -ECONNRESET);
	}
	if (p)
		pipe_put(&w->pipes, p);
}

static void test_reset_with_unread_bytes(void **state)
{
	(void)state;
	for (unsigned int k = 0; k < 16; k++) {
		bool noted = k & 1, by_pull = k & 2, fin_first = k & 4, written = k & 8;
		struct wire w;

		wire_init(&w);
		wire_settle(&w);
		say_bytes(w.peer, pattern(), 3000);
		if (fin_first)
			shutdown(w.peer, SHUT_WR);
		wire_await(&w, fin_first ? POLLRDHUP : POLLIN);
		if (noted) /* the edge of the bytes has been taken before the reset comes */
			wire_settle(&w);
		if (written) /* our bytes are unread there: closing is resetting */
			assert_int_equal(stream_write(w.end.top, pattern(), 10), 10);
		hang_up_with_reset(w.peer);
		w.peer = -1;
		wire_await(&w, 0); /* POLLERR */
		wire_settle(&w);
		assert_true(w.end.failed && w.end.hup && w.end.readable);
		drain_reset(&w, 3000, by_pull);
		wire_done(&w);
	}
}

/* The write notices first. */
static void test_write_after_reset(void **state)
{
	(void)state;
	for (unsigned int by_push = 0; by_push < 2; by_push++) {
		struct wire w;
		struct pipe *p;
		ssize_t n;

		wire_init(&w);
		wire_settle(&w);
		say(w.peer, "bytes");
		wire_await(&w, POLLIN);
		hang_up_with_reset(w.peer);
		w.peer = -1;
		wire_await(&w, 0); /* POLLERR */
		p = pipe_get(&w.pipes);
		assert_int_equal(write(p->write_fd, "x", 1), 1);
		p->len_bytes = 1;
		n = by_push ? w.end.top->ops->push(w.end.top, p)
			    : stream_write(w.end.top, (const uint8_t *)"x", 1);
		assert_true(n == -ECONNRESET || n == -EPIPE);
		assert_true(w.end.readable); /* what it had sent is to be read */
		drain_reset(&w, 5, false);
		pipe_put(&w.pipes, p);
		wire_done(&w);
	}
}

static void test_full_socket(void **state)
{
	struct wire w;
	size_t n = 0;

	(void)state;
	wire_init(&w);
	wire_settle(&w);
	assert_true(w.end.writable);
	while (w.end.writable) {
		ssize_t r = stream_write(w.end.top, pattern(), PATTERN_BYTES);

		assert_true(r > 0 || r == -EAGAIN);
		n += r > 0 ? (size_t)r : 0;
	}
	assert_true(n > 10000);
	wire_settle(&w);
	w.end.writable = false;
	for (size_t got = 0; got < n;) { /* once there is room, an edge says so */
		static uint8_t some[65536];
		ssize_t r = recv(w.peer, some, sizeof(some), 0);

		assert_true(r > 0);
		got += (size_t)r;
	}
	assert_true(wire_edges(&w, WAIT_MS));
	assert_true(w.end.writable);
	wire_done(&w);
}

/* A pipe takes a segment per slot: many small segments fill it long before its bytes do.  That
 * EAGAIN says nothing about the socket. */
static void test_pull_out_of_slots(void **state)
{
	struct wire w;
	struct pipe *p;
	ssize_t n = 0;
	size_t got = 0;

	(void)state;
	wire_init(&w);
	wire_settle(&w);
	p = pipe_get(&w.pipes);
	assert_non_null(p);
	for (unsigned int i = 0; i < 600; i++) {
		say_bytes(w.peer, pattern(), 17);
		if (i % 50 == 0)
			nap_ms(1);
	}
	nap_ms(20);
	wire_settle(&w);
	do {
		n = w.end.top->ops->pull(w.end.top, p, SIZE_MAX);
		got += n > 0 ? (size_t)n : 0;
	} while (n > 0 && got < 600 * 17);
	if (n == -EAGAIN)
		assert_true(w.end.readable); /* the pipe was not empty */
	while (p->len_bytes) {
		static uint8_t some[65536];

		n = read(p->read_fd, some, sizeof(some));
		assert_true(n > 0);
		p->len_bytes -= (uint32_t)n;
	}
	while (got < 600 * 17) { /* and the rest is still there */
		n = wire_read(&w, 4096);
		assert_true(n > 0);
		got += (size_t)n;
	}
	w.end.readable = true;
	assert_int_equal(w.end.top->ops->pull(w.end.top, p, SIZE_MAX), -EAGAIN);
	assert_false(w.end.readable); /* an empty pipe: it was the socket */
	pipe_put(&w.pipes, p);
	wire_done(&w);
}

static void test_pull_end(void **state)
{
	struct wire w;
	struct pipe *p;

	(void)state;
	wire_init(&w);
	wire_settle(&w);
	p = pipe_get(&w.pipes);
	say(w.peer, "last");
	shutdown(w.peer, SHUT_WR);
	wire_await(&w, POLLRDHUP);
	wire_settle(&w);
	assert_int_equal(w.end.top->ops->pull(w.end.top, p, SIZE_MAX), 4);
	assert_true(w.end.readable);
	assert_int_equal(w.end.top->ops->pull(w.end.top, p, SIZE_MAX), 0);
	assert_int_equal(p->len_bytes, 4);
	pipe_put(&w.pipes, p); /* holds bytes: closed, not lent again */
	assert_int_equal(w.pipes.n_made, 0);
	wire_done(&w);
}

static void test_close_disorderly_resets(void **state)
{
	(void)state;
	for (unsigned int orderly = 0; orderly < 2; orderly++) {
		struct wire w;

		wire_init(&w);
		wire_settle(&w);
		assert_int_equal(stream_write(w.end.top, (const uint8_t *)"bye", 3), 3);
		nap_ms(5);
		end_close(&w.end, orderly);
		assert_false(w.end.readable || w.end.writable);
		hear(w.peer, "bye");
		if (orderly)
			hear_fin(w.peer);
		else
			assert_int_equal(hear_reset(w.peer), 0);
		wire_done(&w);
	}
}

/* ---- pipes ---- */

static void test_pool_of_pipes(void **state)
{
	struct pipe_pool pool;
	struct pipe *a, *b;

	(void)state;
	pipe_pool_init(&pool, 2);
	a = pipe_get(&pool);
	b = pipe_get(&pool);
	assert_non_null(a);
	assert_non_null(b);
	assert_true(a->cap_bytes >= 256 << 10 && !a->len_bytes);
	assert_null(pipe_get(&pool)); /* all are lent */
	pipe_put(&pool, a);
	assert_ptr_equal(pipe_get(&pool), a);
	assert_int_equal(write(b->write_fd, "x", 1), 1);
	b->len_bytes = 1;
	pipe_put(&pool, b); /* nobody else gets its bytes */
	b = pipe_get(&pool);
	assert_non_null(b);
	assert_int_equal(b->len_bytes, 0);
	assert_int_equal(pool.n_made, 2);
	pipe_put(&pool, a);
	pipe_put(&pool, b);
	pipe_pool_done(&pool);
	assert_int_equal(pool.n_made, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_read_waits_for_an_edge),
		cmocka_unit_test(test_options_of_who_speaks_first),
		cmocka_unit_test(test_fin_behind_a_short_read),
		cmocka_unit_test(test_fin_after_a_short_read),
		cmocka_unit_test(test_reset_with_unread_bytes),
		cmocka_unit_test(test_write_after_reset),
		cmocka_unit_test(test_full_socket),
		cmocka_unit_test(test_pull_out_of_slots),
		cmocka_unit_test(test_pull_end),
		cmocka_unit_test(test_close_disorderly_resets),
		cmocka_unit_test(test_pool_of_pipes),
	};

	pattern();
	return cmocka_run_group_tests(tests, namespace_enter, NULL);
}
