/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Rules such as `-m owner ! --uid-owner root -j REDIRECT` look at the
 * user that called socket(2), and that stays with the socket wherever it is passed.  So that
 * limpid may run as somebody else behind such rules, a child that stays root makes its sockets
 * and passes them over a socketpair, a batch per request:
 *
 *   limpid  --- one byte: which kind ----------------->  child
 *           <-- one byte: 0 or an errno, descriptors ---
 *
 * The child has no capability and no descriptor but its end of the pair, reads one byte and
 * writes nothing but sockets: who takes limpid over gains a socket's owner from it.  It is no
 * thread, because threads share memory, and whoever writes root's memory is root.
 *
 * It ends with limpid: by the end of the pair, and by a signal of the kernel's.  Workers wait
 * for it under one lock; that is one short round trip per batch.  A child that does not answer
 * in time is given up, because an answer that came late would be taken for the next one.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "sys/fdpass.h"
#include "sys/log.h"
#include "sys/privileges.h"
#include "sys/sock.h"
#include "sys/socket_maker.h"
#include "sys/udp.h"

#define ANSWER_S 2
#define BATCH FDPASS_MAX

/* Which sockets: neither is TCP by IPv4. */
enum { KIND_V6 = 1, KIND_UDP = 2, KINDS = 4 };

struct stock {
	int fds[BATCH];
	size_t n;
};

struct socket_maker {
	pthread_mutex_t lock;
	int channel; /* -1: the child is gone */
	pid_t pid;
	struct stock stock[KINDS];
};

static_assert(SOCKET_MAKER_FDS == KINDS * BATCH + 1, "all stocks and the channel");

static int make(uint8_t kind)
{
	uint8_t family = kind & KIND_V6 ? 6 : 4;

	return kind & KIND_UDP ? udp_plain(family) : sock_tcp(family);
}

/* ---- the child ---- */

static int answer(int channel, uint8_t kind)
{
	struct stock s = { 0 };
	uint8_t error = 0;
	int r;

	while (s.n < BATCH) {
		r = make(kind);
		if (r < 0) {
			error = s.n ? 0 : (uint8_t)-r;
			break;
		}
		s.fds[s.n++] = r;
	}
	r = fdpass_send(channel, &error, 1, s.fds, s.n);
	while (s.n)
		close(s.fds[--s.n]);
	return r;
}

static _Noreturn void child_main(int channel, pid_t parent)
{
	uint8_t kind;
	ssize_t n;

	prctl(PR_SET_NAME, "limpid-sockets");
	if (dup2(channel, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0U, 0) < 0 ||
	    privileges_drop_all() < 0)
		_exit(1);
	/* The parent may have died before this line took effect. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	do
		n = recv(STDIN_FILENO, &kind, 1, 0);
	while ((n < 0 && errno == EINTR) || (n == 1 && !answer(STDIN_FILENO, kind)));
	_exit(0);
}

/* ---- limpid ---- */

int socket_maker_new(struct socket_maker **ret)
{
	const struct timeval patience = { .tv_sec = ANSWER_S };
	struct socket_maker *m = NEW0(struct socket_maker);
	pid_t parent = getpid();
	int ends[2], r;

	if (!m)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		r = -errno;
		free(m);
		return r;
	}
	m->pid = _Fork(); /* not fork(): see fork_helper() in netns.c */
	if (!m->pid)
		child_main(ends[1], parent);
	r = m->pid < 0 ? -errno : 0;
	close(ends[1]);
	if (r < 0) {
		close(ends[0]);
		free(m);
		return r;
	}
	setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	m->channel = ends[0];
	pthread_mutex_init(&m->lock, NULL);
	*ret = m;
	return 0;
}

/* Under the lock.  Return: 0 or -errno; -EPIPE: it is gone. */
static int stock_fill(struct socket_maker *m, struct stock *s, uint8_t kind)
{
	uint8_t error;
	ssize_t n;

	if (fdpass_send(m->channel, &kind, 1, NULL, 0) < 0)
		return -EPIPE;
	n = fdpass_receive(m->channel, &error, 1, s->fds, &s->n);
	if (n == -EMSGSIZE)
		return -EMFILE; /* not all of them fitted: out of descriptors */
	if (n != 1)
		return -EPIPE;
	return error ? -error : s->n ? 0 : -EMFILE;
}

static void give_up(struct socket_maker *m)
{
	close(m->channel);
	m->channel = -1;
	log_line(LOG_ERROR,
		 "the process that makes sockets is gone: they are made by user %u now, "
		 "and rules that except another user take them",
		 geteuid());
}

static int take(struct socket_maker *m, uint8_t kind)
{
	struct stock *s = &m->stock[kind];
	int r = 0, fd = -1;

	pthread_mutex_lock(&m->lock);
	if (!s->n && m->channel >= 0)
		r = stock_fill(m, s, kind);
	if (r == -EPIPE)
		give_up(m);
	if (s->n)
		fd = s->fds[--s->n];
	pthread_mutex_unlock(&m->lock);
	if (fd >= 0)
		return fd;
	return r < 0 && r != -EPIPE ? r : make(kind);
}

int socket_maker_take(struct socket_maker *m, uint8_t family)
{
	return take(m, family == 6 ? KIND_V6 : 0);
}

int socket_maker_take_udp(struct socket_maker *m, uint8_t family)
{
	return take(m, KIND_UDP | (family == 6 ? KIND_V6 : 0));
}

void socket_maker_free(struct socket_maker *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(m->stock); i++)
		while (m->stock[i].n)
			close(m->stock[i].fds[--m->stock[i].n]);
	if (m->channel >= 0)
		close(m->channel);
	kill(m->pid, SIGKILL); /* it may not read any more */
	while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
		;
	pthread_mutex_destroy(&m->lock);
	free(m);
}
