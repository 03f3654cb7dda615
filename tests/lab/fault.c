/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A library that is preloaded into limpid and makes allocations and system
 * calls fail on request.  It stands between the program and the C library (or the sanitizer's
 * interceptors), so nothing of limpid is built differently for it.
 *
 * What fails is said in a file that both sides map (lab/fault.py): which kinds of calls, and
 * whether the n-th of them fails or every n-th.  So a test can let limpid start in peace, turn
 * failures on while it carries flows, turn them off again, and read how many there were.  Each
 * kind fails with its errno values in turn; only those are listed that the kernel gives for a
 * healthy descriptor.  Where a call works in silence when it fails (write of an eventfd, EAGAIN of
 * an edge-triggered socket that would never be followed by an edge) it is not made to fail.
 *
 * With FAULT_QUIT the first wait for signals finds a TERM: start and end in one go.
 *
 *	env LD_PRELOAD=build/tests/fault.so FAULT_FILE=F FAULT_PROGRAM=$PWD/build/limpid limpid ...
 *
 * A program built with a sanitizer insists on its runtime being the first library, unless told
 * ASAN_OPTIONS=verify_asan_link_order=0; then the two go together well.  Other programs (env, the
 * command of run) are left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "preload.h"

/* One bit each; lab/fault.py has the same names in the same order. */
enum kind {
	FAULT_ALLOC,
	FAULT_SOCKET,
	FAULT_ACCEPT,
	FAULT_CONNECT,
	FAULT_BIND,
	FAULT_LISTEN,
	FAULT_SETSOCKOPT,
	FAULT_GETSOCKOPT,
	FAULT_GETSOCKNAME,
	FAULT_EPOLL_CREATE,
	FAULT_EPOLL_CTL,
	FAULT_EPOLL_WAIT,
	FAULT_EVENTFD,
	FAULT_SPLICE,
	FAULT_PIPE,
	FAULT_FCNTL,
	FAULT_RECV,
	FAULT_SEND,
	FAULT_SHUTDOWN,
	FAULT_IOCTL,
	FAULT_OPEN,
	FAULT_READ,
	FAULT_WRITE,
	FAULT_MMAP,
	FAULT_THREAD,
	FAULT_FORK,
	FAULT_KINDS,
};

static const int errors[FAULT_KINDS][4] = {
	[FAULT_ALLOC] = { ENOMEM },
	[FAULT_SOCKET] = { EMFILE, ENFILE, ENOBUFS, ENOMEM },
	[FAULT_ACCEPT] = { EMFILE, ECONNABORTED, ENOBUFS, EINTR },
	[FAULT_CONNECT] = { ENETUNREACH, EADDRNOTAVAIL, EPERM, ENOBUFS },
	[FAULT_BIND] = { EADDRINUSE, ENOMEM },
	[FAULT_LISTEN] = { EADDRINUSE },
	[FAULT_SETSOCKOPT] = { ENOMEM, EPERM, ENOBUFS },
	[FAULT_GETSOCKOPT] = { ENOBUFS, EPERM },
	[FAULT_GETSOCKNAME] = { ENOBUFS },
	[FAULT_EPOLL_CREATE] = { EMFILE, ENOMEM },
	[FAULT_EPOLL_CTL] = { ENOMEM, ENOSPC },
	[FAULT_EPOLL_WAIT] = { EINTR },
	[FAULT_EVENTFD] = { EMFILE, ENOMEM },
	[FAULT_SPLICE] = { ENOMEM, EINVAL, EINTR },
	[FAULT_PIPE] = { EMFILE, ENFILE, ENOMEM },
	[FAULT_FCNTL] = { EPERM, ENOMEM, EBUSY },
	[FAULT_RECV] = { ENOMEM, EINTR, EHOSTUNREACH },
	[FAULT_SEND] = { ENOBUFS, ENOMEM, EINTR, EPIPE },
	[FAULT_SHUTDOWN] = { ENOTCONN },
	[FAULT_IOCTL] = { ENOMEM },
	[FAULT_OPEN] = { EMFILE, EACCES, ENOMEM },
	[FAULT_READ] = { EIO, EINTR, ENOMEM },
	[FAULT_WRITE] = { ENOSPC, EINTR, EIO },
	[FAULT_MMAP] = { ENOMEM },
	[FAULT_THREAD] = { EAGAIN },
	[FAULT_FORK] = { EAGAIN, ENOMEM },
};

/* The file; struct.pack("=QQQQ") on the other side. */
struct control {
	atomic_ullong kinds; /* bit i: calls of kind i are counted, and may fail */
	atomic_llong n;	     /* > 0: the n-th fails; < 0: every -n-th; 0: none */
	atomic_ullong seen;
	atomic_ullong failed;
};

static struct control *control;
static bool quit;
static _Thread_local bool spared; /* this thread, for a while */

static bool fails(enum kind kind)
{
	unsigned long long seen, failed;
	long long n;

	if (!control || spared || !(atomic_load(&control->kinds) >> kind & 1))
		return false;
	n = atomic_load(&control->n);
	seen = atomic_fetch_add(&control->seen, 1) + 1;
	if (n > 0 ? seen != (unsigned long long)n : !n || seen % (unsigned long long)-n)
		return false;
	failed = atomic_fetch_add(&control->failed, 1);
	errno = errors[kind][failed % 4] ? errors[kind][failed % 4] : errors[kind][0];
	return true;
}

__attribute__((constructor)) static void fault_init(void)
{
	const char *file = getenv("FAULT_FILE"), *program = getenv("FAULT_PROGRAM");
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	void *m;
	int fd;

	if (n < 0 || !file || !program)
		return;
	self[n] = '\0';
	if (strcmp(self, program))
		return;
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		abort();
	m = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		abort();
	close(fd);
	quit = getenv("FAULT_QUIT") != NULL;
	control = m;
}

/* ---- memory ---- */

void *malloc(size_t size)
{
	return fails(FAULT_ALLOC) ? NULL : NEXT(malloc)(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(FAULT_ALLOC) ? NULL : NEXT(calloc)(n, size);
}

void *realloc(void *p, size_t size)
{
	return size && fails(FAULT_ALLOC) ? NULL : NEXT(realloc)(p, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	return fails(FAULT_ALLOC) ? ENOMEM : NEXT(posix_memalign)(ret, alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails(FAULT_ALLOC) ? NULL : NEXT(aligned_alloc)(alignment, size);
}

/*
 * libfyaml 0.7.12 checks the wrong pointer after an allocation that this function makes, and
 * crashes: nothing that its caller could do.
 */
struct fy_parser;
extern int fy_parser_set_string(struct fy_parser *p, const char *s, size_t len);
int fy_parser_set_string(struct fy_parser *p, const char *s, size_t len)
{
	int r;

	spared = true;
	r = NEXT(fy_parser_set_string)(p, s, len);
	spared = false;
	return r;
}

/* The C library's own calls malloc(); a sanitizer's does not. */
char *strdup(const char *s)
{
	return fails(FAULT_ALLOC) ? NULL : NEXT(strdup)(s);
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return fails(FAULT_MMAP) ? MAP_FAILED : NEXT(mmap)(at, len, prot, flags, fd, offset);
}

/* ---- sockets ---- */

int socket(int domain, int type, int protocol)
{
	return fails(FAULT_SOCKET) ? -1 : NEXT(socket)(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
	return fails(FAULT_SOCKET) ? -1 : NEXT(socketpair)(domain, type, protocol, fds);
}

int accept4(int fd, struct sockaddr *s, socklen_t *len, int flags)
{
	return fails(FAULT_ACCEPT) ? -1 : NEXT(accept4)(fd, s, len, flags);
}

int connect(int fd, const struct sockaddr *s, socklen_t len)
{
	return fails(FAULT_CONNECT) ? -1 : NEXT(connect)(fd, s, len);
}

int bind(int fd, const struct sockaddr *s, socklen_t len)
{
	return fails(FAULT_BIND) ? -1 : NEXT(bind)(fd, s, len);
}

int listen(int fd, int backlog)
{
	return fails(FAULT_LISTEN) ? -1 : NEXT(listen)(fd, backlog);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	return fails(FAULT_SETSOCKOPT) ? -1 : NEXT(setsockopt)(fd, level, option, value, len);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
	return fails(FAULT_GETSOCKOPT) ? -1 : NEXT(getsockopt)(fd, level, option, value, len);
}

int getsockname(int fd, struct sockaddr *s, socklen_t *len)
{
	return fails(FAULT_GETSOCKNAME) ? -1 : NEXT(getsockname)(fd, s, len);
}

ssize_t recv(int fd, void *dst, size_t cap, int flags)
{
	return fails(FAULT_RECV) ? -1 : NEXT(recv)(fd, dst, cap, flags);
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	return fails(FAULT_RECV) ? -1 : NEXT(recvmsg)(fd, m, flags);
}

int recvmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags, struct timespec *timeout)
{
	return fails(FAULT_RECV) ? -1 : NEXT(recvmmsg)(fd, m, n, flags, timeout);
}

ssize_t send(int fd, const void *src, size_t len, int flags)
{
	return fails(FAULT_SEND) ? -1 : NEXT(send)(fd, src, len, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	return fails(FAULT_SEND) ? -1 : NEXT(sendmsg)(fd, m, flags);
}

int sendmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags)
{
	return fails(FAULT_SEND) ? -1 : NEXT(sendmmsg)(fd, m, n, flags);
}

int shutdown(int fd, int how)
{
	return fails(FAULT_SHUTDOWN) ? -1 : NEXT(shutdown)(fd, how);
}

/* ---- descriptors ---- */

int epoll_create1(int flags)
{
	return fails(FAULT_EPOLL_CREATE) ? -1 : NEXT(epoll_create1)(flags);
}

/* Taking something out needs no memory. */
int epoll_ctl(int set, int op, int fd, struct epoll_event *ev)
{
	return op != EPOLL_CTL_DEL && fails(FAULT_EPOLL_CTL) ? -1
							     : NEXT(epoll_ctl)(set, op, fd, ev);
}

int epoll_wait(int set, struct epoll_event *ev, int n, int wait_ms)
{
	return fails(FAULT_EPOLL_WAIT) ? -1 : NEXT(epoll_wait)(set, ev, n, wait_ms);
}

extern int eventfd(unsigned int count, int flags);
int eventfd(unsigned int count, int flags)
{
	return fails(FAULT_EVENTFD) ? -1 : NEXT(eventfd)(count, flags);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned int flags)
{
	return fails(FAULT_SPLICE) ? -1 : NEXT(splice)(from, from_at, to, to_at, n, flags);
}

int pipe2(int fds[2], int flags)
{
	return fails(FAULT_PIPE) ? -1 : NEXT(pipe2)(fds, flags);
}

int fcntl(int fd, int cmd, ...)
{
	va_list args;
	void *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	return fails(FAULT_FCNTL) ? -1 : NEXT(fcntl)(fd, cmd, arg);
}

extern int ioctl(int fd, unsigned long request, ...);
int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	return fails(FAULT_IOCTL) ? -1 : NEXT(ioctl)(fd, request, arg);
}

int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return fails(FAULT_OPEN) ? -1 : NEXT(open)(path, flags, mode);
}

/* Eight bytes are an eventfd's: it cannot fail so that nobody would notice. */
ssize_t read(int fd, void *dst, size_t cap)
{
	return cap != 8 && fails(FAULT_READ) ? -1 : NEXT(read)(fd, dst, cap);
}

ssize_t write(int fd, const void *src, size_t len)
{
	return len != 8 && fails(FAULT_WRITE) ? -1 : NEXT(write)(fd, src, len);
}

/* ---- threads, processes, signals ---- */

int pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	return fails(FAULT_THREAD) ? EAGAIN : NEXT(pthread_create)(ret, attr, run, arg);
}

/* The sanitizers take its failure for the end of the world. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *ret)
{
	int r;

	spared = true;
	r = NEXT(pthread_getattr_np)(thread, ret);
	spared = false;
	return r;
}

extern pid_t _Fork(void);
pid_t _Fork(void)
{
	return fails(FAULT_FORK) ? -1 : NEXT(_Fork)();
}

static void quit_once(void)
{
	if (!control || !quit)
		return;
	quit = false;
	kill(getpid(), SIGTERM);
}

int sigwait(const sigset_t *set, int *ret)
{
	quit_once();
	return NEXT(sigwait)(set, ret);
}
