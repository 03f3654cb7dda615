/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Both ends of a pipe: we have the one to write to and never write; the
 * guard reads, and what it reads is the end of the last process that had our end, which is
 * close-on-exec and in no other process.  The kernel closes it whatever kills us.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "sys/guard.h"

/* The guard's lowest descriptors; above them it has none. */
#define PIPE_FD 3

static void ignore_signals(void)
{
	static const int signals[] = { SIGINT,	SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE,
				       SIGUSR1, SIGUSR2, SIGTSTP, SIGTTOU };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_IGN);
}

static int nothing_open(int pipe_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    (pipe_fd != PIPE_FD && dup2(pipe_fd, PIPE_FD) < 0))
		return -errno;
	return syscall(SYS_close_range, PIPE_FD + 1, ~0U, 0) < 0 ? -errno : 0;
}

/* In the guard.  Never returns. */
static void watch(int pipe_fd, int (*work)(uint64_t arg), uint64_t arg)
{
	char byte;

	setsid();
	ignore_signals();
	prctl(PR_SET_NAME, "limpid-guard");
	if (nothing_open(pipe_fd) < 0)
		_exit(1);
	while (read(PIPE_FD, &byte, 1) < 0 && errno == EINTR)
		;
	_exit(work(arg));
}

int guard_start(int (*work)(uint64_t arg), uint64_t arg, struct guard *ret)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (!pid)
		watch(fds[0], work, arg);
	close(fds[0]);
	if (pid < 0) {
		close(fds[1]);
		return -errno;
	}
	*ret = (struct guard){ .pid = pid, .alive_fd = fds[1] };
	return 0;
}

int guard_end(struct guard *g)
{
	int status = 0;

	close(g->alive_fd);
	while (waitpid(g->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}
