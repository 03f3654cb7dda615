/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor copy|splice PORT THREADS: the least a transparent relay has to do.
 *
 * No policy, no limits, no timers, no records, no RST carried over: a yardstick, not a product.
 * Each thread has its own listener (SO_REUSEPORT) and its own edge-triggered epoll, in which each
 * socket is registered once.  An event on either socket pumps both lanes of the flow; a lane whose
 * budget ended before its socket did puts the flow on the thread's run list.
 *
 * `copy` moves bytes through one 64 KiB buffer of the thread; `splice` does so too until a lane
 * has filled it twice running and then uses a pipe of 1 MiB.  A pipe is refilled only when it is
 * empty, for only then does EAGAIN from the socket mean that there is nothing to read.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUF_BYTES 65536
#define PIPE_BYTES (1 << 20)
#define TURNS 16			/* reads of one lane before others have their turn */

struct lane {
	int pipe[2];			/* -1 until the first splice */
	size_t in_pipe_bytes;
	unsigned char *rest;		/* what a short write left of the buffer */
	size_t rest_at, rest_bytes;
	unsigned int full;		/* reads in a row that filled the buffer */
	bool readable, full_out; /* by the last event, until EAGAIN; by EAGAIN, until an event */
	bool hung_up; /* the end of the stream is near: a short read is not the last */
	bool finished, passed_on; /* the end of the stream was read; and shown to the other side */
};

struct flow {
	int fd[2];			/* client, server */
	struct lane lane[2];		/* lane i reads fd[i] */
	bool connected, dead, queued;
	struct flow *next_run, *next_dead;
};

struct thread {
	int epoll, listener;
	bool splice;
	unsigned short port;
	struct flow *run, *dead;
	unsigned char buf[BUF_BYTES];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void flow_kill(struct thread *t, struct flow *f)
{
	if (f->dead)
		return;
	f->dead = true;
	for (int i = 0; i < 2; i++) {
		close(f->fd[i]);
		free(f->lane[i].rest);
		if (f->lane[i].pipe[0] >= 0) {
			close(f->lane[i].pipe[0]);
			close(f->lane[i].pipe[1]);
		}
	}
	f->next_dead = t->dead;		/* freed after this round: events may still name it */
	t->dead = f;
}

/* Returns 1 when nothing is held, 0 when the other side is full, < 0 when it is dead. */
static int lane_drain(struct lane *l, int to)
{
	while (l->rest_bytes > 0) {
		ssize_t n = send(to, l->rest + l->rest_at, l->rest_bytes, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		l->rest_at += (size_t)n;
		l->rest_bytes -= (size_t)n;
	}
	free(l->rest);
	l->rest = NULL;
	while (l->in_pipe_bytes > 0) {
		ssize_t n = splice(l->pipe[0], NULL, to, NULL, l->in_pipe_bytes,
				   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		l->in_pipe_bytes -= (size_t)n;
	}
	return 1;
}

static ssize_t lane_splice(struct lane *l, int from)
{
	ssize_t n;

	if (l->pipe[0] < 0) {
		if (pipe2(l->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
			return -errno;
		fcntl(l->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
	}
	n = splice(from, NULL, l->pipe[1], NULL, PIPE_BYTES, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	if (n > 0)
		l->in_pipe_bytes = (size_t)n;
	return n < 0 ? -errno : n;
}

static ssize_t lane_copy(struct thread *t, struct lane *l, int from, int to)
{
	ssize_t n = recv(from, t->buf, BUF_BYTES, 0), sent;

	if (n <= 0)
		return n < 0 ? -errno : 0;
	l->full = n == BUF_BYTES ? l->full + 1 : 0;
	sent = send(to, t->buf, (size_t)n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		return -errno;
	if (sent < 0)
		sent = 0;
	if (sent < n) {
		l->rest_bytes = (size_t)(n - sent);
		l->rest_at = 0;
		l->rest = malloc(l->rest_bytes);
		if (!l->rest)
			return -ENOMEM;
		memcpy(l->rest, t->buf + sent, l->rest_bytes);
	}
	return n;
}

/* Returns 1 when it could go on, 0 when it must wait for an event or has finished, < 0: dead. */
static int lane_pump(struct thread *t, struct lane *l, int from, int to)
{
	for (int turn = 0; turn < TURNS; turn++) {
		ssize_t n;
		int r;

		if (l->finished || l->full_out)
			return 0;
		r = lane_drain(l, to);
		l->full_out = r == 0;
		if (r <= 0)
			return r;
		if (!l->readable)
			return 0;
		n = t->splice && l->full > 1 ? lane_splice(l, from) : lane_copy(t, l, from, to);
		if (n < 0 && n != -EAGAIN)
			return (int)n;
		l->finished = n == 0;
		if (n == -EAGAIN || (l->full == 0 && !l->hung_up))
			l->readable = false;	/* copied less than asked: the next is an edge */
	}
	return 1;
}

static void flow_ready(struct flow *f, int side, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		f->lane[side].readable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		f->lane[side].hung_up = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		f->lane[!side].full_out = false;
}

static void flow_pump(struct thread *t, struct flow *f)
{
	int up = lane_pump(t, &f->lane[0], f->fd[0], f->fd[1]);
	int down = lane_pump(t, &f->lane[1], f->fd[1], f->fd[0]);

	for (int i = 0; i < 2; i++) {
		if (f->lane[i].finished && !f->lane[!i].finished && !f->lane[i].passed_on) {
			f->lane[i].passed_on = true;
			shutdown(f->fd[!i], SHUT_WR);
		}
	}
	if (up < 0 || down < 0 || (f->lane[0].finished && f->lane[1].finished)) {
		flow_kill(t, f);
	} else if ((up > 0 || down > 0) && !f->queued) {
		f->queued = true;
		f->next_run = t->run;
		t->run = f;
	}
}

/* Event data: the flow, with the lowest bit set for its server side. */
static void flow_watch(struct thread *t, struct flow *f, int side)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.u64 = (uint64_t)(uintptr_t)f | (uint64_t)side,
	};

	if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, f->fd[side], &ev) < 0)
		die("epoll_ctl");
}

static int dial(const struct sockaddr_in6 *client, const struct sockaddr_in6 *server)
{
	struct sockaddr_in6 from = *client;
	const int one = 1;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	from.sin6_port = 0;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0 ||
	    (connect(fd, (const struct sockaddr *)server, sizeof(*server)) < 0 &&
	     errno != EINPROGRESS)) {
		close(fd);
		return -EADDRNOTAVAIL;
	}
	return fd;
}

static void thread_accept(struct thread *t)
{
	for (;;) {
		struct sockaddr_in6 client, server;
		socklen_t client_len = sizeof(client), server_len = sizeof(server);
		const int one = 1;
		struct flow *f;
		int fd = accept4(t->listener, (struct sockaddr *)&client, &client_len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		getsockname(fd, (struct sockaddr *)&server, &server_len);
		f = calloc(1, sizeof(*f));
		if (!f)
			die("calloc");
		f->fd[0] = fd;
		f->fd[1] = dial(&client, &server);
		if (f->fd[1] < 0) {
			close(fd);
			free(f);
			continue;
		}
		f->lane[0].pipe[0] = f->lane[1].pipe[0] = -1;
		flow_watch(t, f, 1);
	}
}

static void thread_event(struct thread *t, const struct epoll_event *ev)
{
	struct flow *f = (struct flow *)(uintptr_t)(ev->data.u64 & ~1ULL);

	if (!f) {
		thread_accept(t);
		return;
	}
	if (f->dead)
		return;
	if (!f->connected) {
		if (ev->events & EPOLLERR) {
			flow_kill(t, f);
			return;
		}
		f->connected = true;
		flow_watch(t, f, 0);
	}
	flow_ready(f, (int)(ev->data.u64 & 1), ev->events);
	flow_pump(t, f);
}

static void *thread_run(void *arg)
{
	struct thread *t = arg;
	struct epoll_event ev[256];

	for (;;) {
		int n = epoll_wait(t->epoll, ev, 256, t->run ? 0 : -1);
		struct flow *run = t->run;

		t->run = NULL;
		for (int i = 0; i < n; i++)
			thread_event(t, &ev[i]);
		while (run) {
			struct flow *f = run;

			run = f->next_run;
			f->queued = false;
			if (!f->dead)
				flow_pump(t, f);
		}
		while (t->dead) {
			struct flow *f = t->dead;

			if (f->queued)
				break;		/* on the new run list: free it after that round */
			t->dead = f->next_dead;
			free(f);
		}
	}
	return NULL;
}

static struct thread *thread_new(unsigned short port, bool splice_bulk)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct epoll_event ev = { .events = EPOLLIN };
	struct thread *t = calloc(1, sizeof(*t));
	const int one = 1, zero = 0;

	if (!t)
		die("calloc");
	t->splice = splice_bulk;
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	t->listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->epoll < 0 || t->listener < 0)
		die("socket");
	setsockopt(t->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(t->listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	setsockopt(t->listener, IPPROTO_IPV6, IPV6_TRANSPARENT, &one, sizeof(one));
	setsockopt(t->listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(t->listener, (struct sockaddr *)&any, sizeof(any)) < 0 ||
	    listen(t->listener, 4096) < 0 ||
	    epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->listener, &ev) < 0)
		die("listen");
	return t;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	pthread_t id;
	int threads;

	if (argc != 4 || (strcmp(argv[1], "copy") != 0 && strcmp(argv[1], "splice") != 0)) {
		fprintf(stderr, "usage: floor copy|splice PORT THREADS\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	threads = atoi(argv[3]);
	for (int i = 0; i < threads; i++) {
		struct thread *t = thread_new((unsigned short)atoi(argv[2]), argv[1][0] == 's');

		if (i == threads - 1)
			thread_run(t);
		else if (pthread_create(&id, NULL, thread_run, t) != 0)
			die("pthread_create");
	}
	return 0;
}
