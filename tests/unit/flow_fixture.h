/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_FLOW_FIXTURE_H
#define UNIT_FLOW_FIXTURE_H

/*
 * A whole worker in a thread, with one listener, in a network namespace of this process's own.
 * The test is client and server at once, with real TCP over the loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/flow.h"
#include "core/worker.h"
#include "dial/direct.h"
#include "learn/learn.h"
#include "proto/raw.h"
#include "stream/tcp.h"
#include "sys/sock.h"

#define WAIT_MS 10000
#define ENDED_MAX 4096

/* What the observer remembers of a flow. */
struct ended {
	enum why why;
	uint64_t up_bytes, down_bytes;
	bool announced, spliced;
	char host[64];
};

/**
 * struct rig - the worker and what surrounds it
 * @rules, @n_rules, @timeouts, @limits, @parts: to be changed between rig_init() and rig_start()
 * @learners:	likewise, with @n_learners
 * @server_fd:	a listening socket, @server its address; the target of the fixed learner
 */
struct rig {
	struct rule rules[4];
	struct policy policy;
	struct snapshot snapshot;
	struct listener listener;
	struct addr server;
	int server_fd;
	struct realm realm;
	struct worker worker;
	pthread_t thread;
	pthread_mutex_t lock;
	unsigned int n_decided, n_ended;
	struct ended ended[ENDED_MAX];
};

/* ---- the namespace ---- */

static inline void namespace_map_self(uid_t uid)
{
	int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	char line[64];

	assert_true(fd >= 0);
	snprintf(line, sizeof(line), "0 %u 1", (unsigned int)uid);
	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
	close(fd);
}

static inline int namespace_enter(void **state)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	uid_t uid = geteuid();
	int fd;

	(void)state;
	if (unshare(CLONE_NEWNET) < 0) {
		assert_int_equal(unshare(CLONE_NEWUSER | CLONE_NEWNET), 0);
		namespace_map_self(uid);
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
	return 0;
}

/* ---- the observer ---- */

static inline struct rig *rig_of(struct worker *w)
{
	return container_of(w, struct rig, worker);
}

static inline void rig_decided(struct worker *w, const struct flow *f)
{
	struct rig *r = rig_of(w);

	(void)f;
	pthread_mutex_lock(&r->lock);
	r->n_decided++;
	pthread_mutex_unlock(&r->lock);
}

static inline void rig_closed(struct worker *w, const struct flow *f)
{
	struct rig *r = rig_of(w);
	struct ended e = {
		.why = f->why,
		.up_bytes = f->up.bytes,
		.down_bytes = f->down.bytes,
		.announced = f->announced,
		.spliced = f->up.was_spliced || f->down.was_spliced,
	};

	if (f->facts.host)
		snprintf(e.host, sizeof(e.host), "%s", f->facts.host);
	pthread_mutex_lock(&r->lock);
	if (r->n_ended < ENDED_MAX)
		r->ended[r->n_ended++] = e;
	pthread_mutex_unlock(&r->lock);
}

static const struct observer rig_observer = { .decided = rig_decided, .closed = rig_closed };

/* ---- sockets of the test ---- */

static inline void nap_ms(unsigned int ms)
{
	nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL);
}

static inline uint64_t clock_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void socket_limits(int fd)
{
	struct timeval t = { .tv_sec = WAIT_MS / 1000 };
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Listen on a free port of 127.0.0.1. */
static inline int listen_anywhere(struct addr *ret, int backlog)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(sock_local(fd, ret), 0);
	return fd;
}

static inline int dial(const struct addr *a)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(a->port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(&sin.sin_addr, a->ip, 4);
	socket_limits(fd);
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

static inline bool is_readable(int fd, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, wait_ms) == 1;
}

static inline int take_connection(int listen_fd)
{
	int fd;

	assert_true(is_readable(listen_fd, WAIT_MS));
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	socket_limits(fd);
	return fd;
}

static inline void say_bytes(int fd, const void *data, size_t n)
{
	assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
}

static inline void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

static inline void hear_bytes(int fd, const void *expect, size_t n)
{
	char *got = malloc(n + 1);

	assert_int_equal(recv(fd, got, n, MSG_WAITALL), n);
	assert_memory_equal(got, expect, n);
	free(got);
}

static inline void hear(int fd, const char *text)
{
	hear_bytes(fd, text, strlen(text));
}

/* The end is FIN, not RST, and nothing comes before it. */
static inline void hear_fin(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, 0), 0);
}

/* The end is RST; @n bytes may come before it.  Return: how many did. */
static inline size_t hear_reset(int fd)
{
	char some[4096];
	size_t n = 0;
	ssize_t r;

	while ((r = recv(fd, some, sizeof(some), 0)) > 0)
		n += (size_t)r;
	assert_int_equal(r, -1);
	assert_int_equal(errno, ECONNRESET);
	return n;
}

static inline void hang_up_with_reset(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}

/* ---- the worker ---- */

static inline void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	r->policy.rules = r->rules;
	r->policy.n_rules = 1; /* accept everything */
	r->snapshot = (struct snapshot){
		.policy = &r->policy,
		.timeouts = { .sniff_ms = 5000, .connect_ms = 5000, .idle_ms = 60000,
			      .half_closed_ms = 60000, .deny_ms = 200, .drain_ms = 1000 },
		.limits = { .flows = 1000, .look_ahead_bytes = 65536,
			    .look_ahead_total_bytes = 1u << 24 },
	};
	r->server_fd = listen_anywhere(&r->server, 64);
	r->listener = (struct listener){
		.name = "test",
		.learners = { { .ops = &fixed_learner_ops, .conf = &r->server } },
		.n_learners = 1,
	};
	r->realm.parts = (struct parts){
		.socket = &tcp_stream_ops,
		.dialer = &direct_dialer_ops,
		.proto = &raw_proto_ops,
	};
	r->realm.snapshot = &r->snapshot;
	r->realm.listeners = &r->listener;
	r->realm.n_listeners = 1;
	r->realm.pipes_per_worker = 8;
	r->realm.observer = &rig_observer;
}

static inline void *rig_main(void *arg)
{
	worker_run(arg);
	return NULL;
}

static inline void rig_start(struct rig *r)
{
	struct addr any;

	assert_int_equal(addr_parse("127.0.0.1:0", &any), 0);
	r->listener.fd = sock_listen_tcp(&any, false, 0);
	assert_true(r->listener.fd >= 0);
	fcntl(r->listener.fd, F_SETFL, fcntl(r->listener.fd, F_GETFL) | O_NONBLOCK);
	assert_int_equal(sock_local(r->listener.fd, &r->listener.address), 0);
	assert_int_equal(worker_init(&r->worker, &r->realm, 0), 0);
	assert_int_equal(pthread_create(&r->thread, NULL, rig_main, &r->worker), 0);
}

/* Stop, and look whether everything was given back. */
static inline void rig_stop(struct rig *r)
{
	loop_stop(&r->worker.loop);
	pthread_join(r->thread, NULL);
	assert_int_equal(r->worker.n_flows, 0);
	assert_true(list_empty(&r->worker.flows) && list_empty(&r->worker.ended));
	assert_int_equal(atomic_load(&r->realm.n_flows), 0);
	assert_int_equal(atomic_load(&r->realm.look_ahead_bytes), 0);
	assert_true(list_empty(&r->worker.loop.tasks));
	worker_done(&r->worker);
	assert_int_equal(r->worker.tools.pipes.n_made, 0); /* none was lost */
	close(r->listener.fd);
	close(r->server_fd);
	pthread_mutex_destroy(&r->lock);
}

static inline unsigned int rig_n_ended(struct rig *r)
{
	unsigned int n;

	pthread_mutex_lock(&r->lock);
	n = r->n_ended;
	pthread_mutex_unlock(&r->lock);
	return n;
}

/* Wait until @n flows have ended.  Return: the last of them. */
static inline struct ended rig_wait_ended(struct rig *r, unsigned int n)
{
	struct ended e = { 0 };

	for (unsigned int ms = 0; ms < WAIT_MS && rig_n_ended(r) < n; ms++)
		nap_ms(1);
	pthread_mutex_lock(&r->lock);
	if (r->n_ended >= n)
		e = r->ended[n - 1];
	pthread_mutex_unlock(&r->lock);
	if (rig_n_ended(r) < n)
		fail_msg("flow %u has not ended", n);
	return e;
}

static inline void rig_expect(struct rig *r, unsigned int n, enum why why)
{
	struct ended e = rig_wait_ended(r, n);

	if (e.why != why)
		fail_msg("ended as %s instead of %s", why_word(e.why), why_word(why));
}

/* ---- bulk ---- */

/* What is sent repeats itself with a period that no buffer's size divides. */
#define PATTERN_BYTES (((size_t)1 << 20) - 3)

/**
 * struct mover - one end of a bulk transfer that is driven by bulk_run()
 * @n_send, @n_receive: bytes in all; FIN follows what is sent
 */
struct mover {
	int fd;
	uint64_t n_send, n_receive, sent, received;
	bool finished, ended;
};

static inline const uint8_t *pattern(void)
{
	static uint8_t bytes[PATTERN_BYTES];
	uint32_t x = 12345;

	for (size_t i = 0; !bytes[0] && i < PATTERN_BYTES; i++) {
		x = x * 1664525 + 1013904223;
		bytes[PATTERN_BYTES - 1 - i] = (uint8_t)(x >> 24 | 1);
	}
	return bytes;
}

/* Bytes at position @at of the stream, at most @most. */
static inline struct span pattern_at(uint64_t at, uint64_t most)
{
	at %= PATTERN_BYTES;
	return span_head(span_of(pattern() + at, PATTERN_BYTES - at), (size_t)most);
}

static inline void mover_send(struct mover *m)
{
	struct span s = pattern_at(m->sent, m->n_send - m->sent);
	ssize_t n;

	if (s.len) {
		n = send(m->fd, s.data, s.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		assert_true(n > 0 || errno == EAGAIN);
		m->sent += n > 0 ? (uint64_t)n : 0;
	} else if (!m->finished) {
		m->finished = true;
		shutdown(m->fd, SHUT_WR);
	}
}

static inline void mover_receive(struct mover *m)
{
	static uint8_t got[65536];
	ssize_t n = recv(m->fd, got, sizeof(got), MSG_DONTWAIT);

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return;
	}
	m->ended = !n;
	for (size_t i = 0; i < (size_t)n;) {
		struct span s = pattern_at(m->received, (uint64_t)n - i);

		assert_memory_equal(got + i, s.data, s.len);
		i += s.len;
		m->received += s.len;
	}
}

/* Both ends send all and receive all, checked byte by byte. */
static inline void bulk_run(struct mover *a, struct mover *b)
{
	struct mover *m[2] = { a, b };

	while (!a->ended || !b->ended) {
		struct pollfd p[2] = {
			{ .fd = a->fd, .events = POLLIN | (a->finished ? 0 : POLLOUT) },
			{ .fd = b->fd, .events = POLLIN | (b->finished ? 0 : POLLOUT) },
		};

		if (a->ended)
			p[0].events &= ~POLLIN;
		if (b->ended)
			p[1].events &= ~POLLIN;
		assert_true(poll(p, 2, WAIT_MS) > 0);
		for (unsigned int i = 0; i < 2; i++) {
			if (p[i].revents & (POLLIN | POLLERR | POLLHUP) && !m[i]->ended)
				mover_receive(m[i]);
			if (p[i].revents & POLLOUT && !m[i]->finished)
				mover_send(m[i]);
		}
	}
	assert_int_equal(a->received, a->n_receive);
	assert_int_equal(b->received, b->n_receive);
}

#endif
