/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A library that is preloaded into limpid and disturbs the order and the
 * size of what it sees, as busy machines and slow networks do and a quiet one does not: rounds of
 * epoll_wait(2) that hold many events, or few of those there are, in any order; reads and writes
 * that move a part; pauses wherever something else may happen meanwhile.  It stands between the
 * program and the C library, as fault.c does.
 *
 * Nothing may be seen that the kernel could not show.  A read that yields less than was asked for
 * says that no more is there (epoll(7), question 9), and a write that takes less that there is no
 * more room; either is followed by an edge.  So what was left comes as if it had come later: the
 * descriptor is armed again (EPOLL_CTL_MOD looks whether it is ready), and the kernel reports it
 * in one of the next rounds.  An event that is held back is forgotten and armed again, too, and
 * so is never out of date.  What has been reported cannot be taken back: after FIN or RST a read
 * yields all that is there, and after EPOLLIN at least something.
 *
 * Every thread draws from a generator of its own, which begins with CHAOS_SEED and the number of
 * the thread: the same seed disturbs in the same way as far as the same is done.  Its last two
 * bits say how often a round begins late: at 3, always.
 *
 *	env LD_PRELOAD=build/tests/chaos.so CHAOS_SEED=7 CHAOS_PROGRAM=$PWD/build/limpid limpid ...
 *
 * Other programs (env, the command of run) are left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "preload.h"

#define FDS_MAX 65536
#define OURS (1ULL << 63) /* a bit that no address of a program has */
#define ALWAYS_TAKEN_BYTES 2048
#define NAP_MAX_US 5000
#define SHORT_NAP_MAX_US 1000

/* What is known of a descriptor; only who watches it writes here. */
struct known {
	atomic_int set; /* it is watched there; 0: nowhere */
	struct epoll_event watch;
	uint32_t reported;     /* EPOLLIN: and not read since; others: ever */
	unsigned int n_unsent; /* writes since all was acknowledged */
	bool is_tcp;
};

static struct known known[FDS_MAX];
static bool on;
static uint64_t seed;
static atomic_uint n_threads;
static _Thread_local uint64_t state;

__attribute__((constructor)) static void chaos_init(void)
{
	const char *program = getenv("CHAOS_PROGRAM"), *s = getenv("CHAOS_SEED");
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0 || !program || !s)
		return;
	self[n] = '\0';
	seed = strtoull(s, NULL, 10);
	on = !strcmp(self, program);
}

/* splitmix64: any seed is good. */
static uint64_t draw(void)
{
	uint64_t z;

	if (!state)
		state = (seed << 16) + atomic_fetch_add(&n_threads, 1) + 1;
	z = state += 0x9e3779b97f4a7c15ULL;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* One time in @of. */
static bool happens(unsigned int of)
{
	return on && draw() % of == 0;
}

static void nap(unsigned int of, unsigned int max_us)
{
	int e = errno;
	struct timespec t;

	if (!happens(of))
		return;
	t = (struct timespec){ .tv_nsec = (long)(draw() % max_us) * 1000 };
	nanosleep(&t, NULL);
	errno = e;
}

/* From 1 to @all - 1 of @all > 1: a few as likely as many. */
static size_t part(size_t all)
{
	size_t most = (size_t)1 << draw() % 20;

	return 1 + draw() % (most < all - 1 ? most : all - 1);
}

static struct known *known_of(int fd)
{
	return fd >= 0 && fd < FDS_MAX ? &known[fd] : NULL;
}

/* A connection that is watched: whoever reads or writes it goes by events. */
static struct known *tcp_of(int fd)
{
	struct known *k = on ? known_of(fd) : NULL;

	return k && atomic_load(&k->set) && k->is_tcp ? k : NULL;
}

/* If it is ready the kernel reports it again. */
static void arm(int fd, struct known *k)
{
	struct epoll_event ev = k->watch;
	int e = errno;

	ev.data.u64 = OURS | (uint64_t)fd;
	NEXT(epoll_ctl)(atomic_load(&k->set), EPOLL_CTL_MOD, fd, &ev);
	errno = e;
}

/* ---- rounds ---- */

static bool is_tcp(int fd)
{
	int type = 0, domain = 0, e = errno;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		type = 0;
	errno = e;
	return type == SOCK_STREAM && (domain == AF_INET || domain == AF_INET6);
}

int epoll_ctl(int set, int op, int fd, struct epoll_event *ev)
{
	struct known *k = on ? known_of(fd) : NULL;
	struct epoll_event ours;
	int r;

	if (!k || (op == EPOLL_CTL_ADD && ev->events & EPOLLEXCLUSIVE))
		return NEXT(epoll_ctl)(set, op, fd, ev);
	nap(16, SHORT_NAP_MAX_US);
	if (op == EPOLL_CTL_DEL) {
		r = NEXT(epoll_ctl)(set, op, fd, ev);
		if (!r)
			atomic_store(&k->set, 0);
		return r;
	}
	ours = (struct epoll_event){ .events = ev->events, .data.u64 = OURS | (uint64_t)fd };
	r = NEXT(epoll_ctl)(set, op, fd, &ours);
	if (r)
		return r;
	k->watch = *ev;
	if (op == EPOLL_CTL_ADD) {
		k->reported = 0;
		k->n_unsent = 0;
		k->is_tcp = is_tcp(fd);
	}
	atomic_store(&k->set, set);
	return 0;
}

/* What of an event is reported now; 0: nothing. */
static uint32_t reported_of(int fd, struct known *k, uint32_t ready)
{
	const uint32_t ended = EPOLLHUP | EPOLLERR;

	if (happens(12)) {
		arm(fd, k);
		return 0;
	}
	if (!(ready & ended) && !(k->reported & EPOLLRDHUP) && ready & EPOLLRDHUP && happens(4)) {
		ready &= ~(uint32_t)EPOLLRDHUP;
		if (!(k->reported & EPOLLIN) && ready & EPOLLOUT && happens(2))
			ready &= ~(uint32_t)(EPOLLIN | EPOLLPRI);
		arm(fd, k);
	} else if (!(ready & ended) && !(k->reported & EPOLLRDHUP) && !(ready & EPOLLRDHUP) &&
		   ready & EPOLLIN && ready & EPOLLOUT && !(k->reported & EPOLLIN) && happens(8)) {
		ready &= ~(uint32_t)(EPOLLIN | EPOLLPRI);
		arm(fd, k);
	}
	k->reported |= ready;
	return ready;
}

/* @n events as the program knows them, without those that are held back. */
static int round_of(struct epoll_event *ev, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++) {
		struct epoll_event e = ev[i];

		if (e.data.u64 & OURS) {
			int fd = (int)(e.data.u64 & ~OURS);

			e.data = known[fd].watch.data;
			e.events = reported_of(fd, &known[fd], e.events);
		}
		if (e.events)
			ev[kept++] = e;
	}
	for (int i = kept - 1; i > 0; i--) {
		int other = (int)(draw() % (unsigned int)(i + 1));
		struct epoll_event e = ev[i];

		ev[i] = ev[other];
		ev[other] = e;
	}
	return kept;
}

/* Stopped and continued, it is interrupted without a handler: signal(7). */
int epoll_wait(int set, struct epoll_event *ev, int n, int wait_ms)
{
	int got, some;

	nap(8 >> (seed & 3), NAP_MAX_US);
	if (happens(64)) {
		errno = EINTR;
		return -1;
	}
	do {
		some = n > 1 && happens(4) ? (int)part((size_t)n) : n;
		got = NEXT(epoll_wait)(set, ev, some, wait_ms);
		if (!on || got <= 0)
			return got;
		got = round_of(ev, got);
	} while (!got && wait_ms);
	return got;
}

/* ---- streams ---- */

/* Could it be that nothing has come yet? */
static bool may_be_empty(const struct known *k)
{
	return !(k->reported & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

static bool may_be_cut(const struct known *k)
{
	return !(k->reported & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

ssize_t recv(int fd, void *dst, size_t cap, int flags)
{
	struct known *k = tcp_of(fd);
	size_t some = cap;
	ssize_t n;

	nap(64, NAP_MAX_US);
	if (!k || flags & MSG_PEEK)
		return NEXT(recv)(fd, dst, cap, flags);
	if (may_be_empty(k) && happens(8)) {
		uint8_t byte;

		/* An error comes once; and tests count on an end to come before what follows it. */
		n = NEXT(recv)(fd, &byte, 1, flags | MSG_PEEK);
		if (n > 0) {
			arm(fd, k);
			errno = EAGAIN;
			return -1;
		}
		if (n < 0)
			return n;
	}
	if (cap > 1 && may_be_cut(k) && happens(4))
		some = part(cap);
	n = NEXT(recv)(fd, dst, some, flags);
	k->reported &= ~(uint32_t)EPOLLIN;
	if (n > 0 && (some < cap || happens(16)))
		arm(fd, k);
	return n;
}

/* How much a connection may say that it has no room for, of @len bytes: where nothing waits, the
 * kernel always takes a few KiB (net/ipv4/tcp.c: tcp_wmem_schedule()). */
static size_t may_be_left(int fd, struct known *k, size_t len)
{
	int unsent = 0;

	if (ioctl(fd, SIOCOUTQ, &unsent) < 0 || !unsent)
		k->n_unsent = 0;
	if (k->n_unsent++ >= 2)
		return len;
	return len > ALWAYS_TAKEN_BYTES && !unsent ? len - ALWAYS_TAKEN_BYTES : 0;
}

ssize_t send(int fd, const void *src, size_t len, int flags)
{
	struct known *k = tcp_of(fd);
	size_t left = k ? may_be_left(fd, k, len) : 0;
	ssize_t n;

	nap(64, NAP_MAX_US);
	if (left && left == len && happens(8)) {
		n = NEXT(send)(fd, src, 0, flags); /* an error comes first */
		if (n < 0)
			return n;
		arm(fd, k);
		errno = EAGAIN;
		return -1;
	}
	left = left > 1 && happens(3) ? part(left) : 0;
	n = NEXT(send)(fd, src, len - left, flags);
	if (k && n > 0 && (left || happens(16)))
		arm(fd, k);
	return n;
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned int flags)
{
	struct known *source = tcp_of(from), *sink = tcp_of(to);
	bool less = n > 1 && (source || sink) && happens(4);
	ssize_t moved;

	nap(64, NAP_MAX_US);
	moved = NEXT(splice)(from, from_at, to, to_at, less ? part(n) : n, flags);
	if (source)
		source->reported &= ~(uint32_t)EPOLLIN;
	if (sink && less && moved > 0)
		arm(to, sink);
	return moved;
}

/* ---- datagrams ---- */

int recvmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags, struct timespec *timeout)
{
	struct known *k = on ? known_of(fd) : NULL;
	bool less = k && atomic_load(&k->set) && n > 1 && happens(4);
	int got;

	nap(64, NAP_MAX_US);
	got = NEXT(recvmmsg)(fd, m, less ? (unsigned int)part(n) : n, flags, timeout);
	if (less && got > 0)
		arm(fd, k);
	return got;
}

int sendmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags)
{
	nap(64, NAP_MAX_US);
	return NEXT(sendmmsg)(fd, m, n > 1 && happens(4) ? (unsigned int)part(n) : n, flags);
}

/* ---- pauses in which something else may happen ---- */

int accept4(int fd, struct sockaddr *s, socklen_t *len, int flags)
{
	nap(8, SHORT_NAP_MAX_US);
	return NEXT(accept4)(fd, s, len, flags);
}

int connect(int fd, const struct sockaddr *s, socklen_t len)
{
	int r;

	nap(8, SHORT_NAP_MAX_US);
	r = NEXT(connect)(fd, s, len);
	nap(8, SHORT_NAP_MAX_US);
	return r;
}

int shutdown(int fd, int how)
{
	nap(16, SHORT_NAP_MAX_US);
	return NEXT(shutdown)(fd, how);
}

int close(int fd)
{
	struct known *k = on ? known_of(fd) : NULL;

	nap(32, SHORT_NAP_MAX_US);
	if (k)
		atomic_store(&k->set, 0);
	return NEXT(close)(fd);
}

/* Eight bytes wake a loop. */
ssize_t write(int fd, const void *src, size_t len)
{
	if (len == 8)
		nap(8, SHORT_NAP_MAX_US);
	return NEXT(write)(fd, src, len);
}

int pthread_mutex_lock(pthread_mutex_t *m)
{
	nap(128, SHORT_NAP_MAX_US);
	return NEXT(pthread_mutex_lock)(m);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	nap(128, SHORT_NAP_MAX_US);
	return NEXT(pthread_rwlock_rdlock)(l);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	nap(128, SHORT_NAP_MAX_US);
	return NEXT(pthread_rwlock_wrlock)(l);
}

/* POSIX: it may return without having been woken. */
int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	if (!happens(16))
		return NEXT(pthread_cond_wait)(c, m);
	pthread_mutex_unlock(m);
	nap(1, SHORT_NAP_MAX_US);
	return NEXT(pthread_mutex_lock)(m);
}
