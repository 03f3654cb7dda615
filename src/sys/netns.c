/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  netns_command_new() forks a helper, which sets up its namespaces
 * (netns_setup.c), passes the sockets back, and waits for one byte.  At that byte the helper
 * becomes the command by execve(2): the command is limpid's own child, so that its pid is
 * safe to signal until it is reaped here, its stops are seen here, and nothing has to be
 * carried between processes.  No process stays behind in the namespace.
 *
 *   new: helper sets up --report, sockets--> limpid --go--> execve --stops, ends--> wait
 *
 * The helper inherits what the caller has: descriptors, dispositions, signal mask,
 * environment.  It changes none of it, so the command gets them as they were.  Only
 * SIGCHLD's disposition is changed before fork(2) (ignored, it would take the exit status
 * away) and put back before execve(2).
 *
 * If limpid dies, the kernel kills the helper or the command (PR_SET_PDEATHSIG): a command
 * without its network is of no use.  Other processes of the command live on in a namespace
 * where nobody answers.
 *
 * Terminal: the command stays in limpid's process group.  What the terminal sends (INT, QUIT,
 * TSTP, HUP, WINCH) reaches both; limpid ignores INT, QUIT and the stops, and follows what
 * the command makes of them.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "sys/fdpass.h"
#include "sys/netns.h"
#include "sys/netns_setup.h"
#include "sys/netns_sockets.h"
#include "sys/program.h"

#define SOCKETS (sizeof(struct netns_sockets) / sizeof(int))
static_assert(SOCKETS <= FDPASS_MAX, "they go in one message");

struct netns_command {
	pid_t pid;   /* the helper, later the command; 0: reaped */
	int control; /* to the helper; -1 after netns_command_go() */
};

/* What the helper says when it has done its work. */
struct report {
	int result;	  /* 0 or -errno */
	uint32_t present; /* bit i: descriptor i of struct netns_sockets comes along */
	char error[512];
};

static int wait_pid(pid_t pid, int *status)
{
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* A folder of PATH that cannot be searched is no reason to speak of permission. */
static bool is_nowhere(const char *name, int error)
{
	char path[4096];

	if (error == EACCES && !strchr(name, '/'))
		return program_find(getenv("PATH"), name, F_OK, path, sizeof(path)) < 0;
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG;
}

/* As sh(1) says it. */
static _Noreturn void exec_command(char *const argv[])
{
	bool nowhere;
	int error;

	execvp(argv[0], argv);
	error = errno;
	nowhere = is_nowhere(argv[0], error);
	dprintf(STDERR_FILENO, "limpid: %s: %s\n", argv[0],
		nowhere && !strchr(argv[0], '/') ? "command not found" : strerror(error));
	_exit(nowhere ? 127 : 126);
}

static int helper_report(int control, const struct netns_wish *wish)
{
	struct report report = { 0 };
	struct netns_sockets sockets;
	int all[SOCKETS], fds[SOCKETS];
	size_t count = 0;
	int r;

	report.result = netns_setup(wish, &sockets, report.error, sizeof(report.error));
	if (report.result < 0)
		return fdpass_send(control, &report, sizeof(report), NULL, 0);
	memcpy(all, &sockets, sizeof(all));
	for (size_t i = 0; i < SOCKETS; i++) {
		if (all[i] < 0)
			continue;
		report.present |= 1U << i;
		fds[count++] = all[i];
	}
	r = fdpass_send(control, &report, sizeof(report), fds, count);
	netns_sockets_close(&sockets);
	return r;
}

static _Noreturn void helper_main(char *const argv[], const struct netns_wish *wish, int control,
				  pid_t parent, const struct sigaction *chld)
{
	char byte;
	ssize_t n;

	/* The parent may have died before the first line took effect. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	if (helper_report(control, wish) < 0)
		_exit(1);
	/* Again: changes of credentials, as by new namespaces, may clear it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(1);
	n = recv(control, &byte, 1, 0);
	if (n < 0)
		dprintf(STDERR_FILENO, "limpid run: the helper process: %s\n", strerror(errno));
	if (n != 1) /* 0: limpid has given up, and says why */
		_exit(1);
	sigaction(SIGCHLD, chld, NULL);
	exec_command(argv);
}

static int read_report(int control, struct netns_sockets *ret, char *error, size_t error_cap_bytes)
{
	struct report report;
	int all[SOCKETS], fds[FDPASS_MAX];
	size_t count, next = 0;
	ssize_t n = fdpass_receive(control, &report, sizeof(report), fds, &count);

	if (n != sizeof(report)) {
		snprintf(error, error_cap_bytes, "the helper process ended early");
		return n < 0 ? (int)n : -ECHILD;
	}
	if (report.result < 0) {
		snprintf(error, error_cap_bytes, "%.*s", (int)sizeof(report.error) - 1,
			 report.error);
		return report.result;
	}
	for (size_t i = 0; i < SOCKETS; i++)
		all[i] = report.present >> i & 1 && next < count ? fds[next++] : -1;
	memcpy(ret, all, sizeof(all));
	return 0;
}

static int fork_helper(struct netns_command *c, char *const argv[],
		       const struct netns_wish *wish)
{
	struct sigaction plain = { .sa_handler = SIG_DFL }, chld;
	pid_t parent = getpid();
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	sigaction(SIGCHLD, &plain, &chld);
	/* Not fork(): the thread sanitizer starts its thread again there, and then no user
	 * namespace can be entered. */
	c->pid = _Fork();
	if (!c->pid) {
		close(ends[0]);
		helper_main(argv, wish, ends[1], parent, &chld);
	}
	close(ends[1]);
	if (c->pid < 0) {
		int r = -errno;

		close(ends[0]);
		return r;
	}
	c->control = ends[0];
	return 0;
}

int netns_command_new(char *const argv[], const struct netns_wish *wish, struct netns_command **ret,
		      struct netns_sockets *sockets, char *error, size_t error_cap_bytes)
{
	struct netns_command *c = NEW0(struct netns_command);
	int r;

	if (!c) {
		snprintf(error, error_cap_bytes, "out of memory");
		return -ENOMEM;
	}
	c->control = -1;
	r = fork_helper(c, argv, wish);
	if (r < 0) {
		snprintf(error, error_cap_bytes, "no process can be started: %s", strerror(-r));
		free(c);
		return r;
	}
	r = read_report(c->control, sockets, error, error_cap_bytes);
	if (r < 0) {
		netns_command_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* What netns_command_wait() takes up itself. */
static void fill_awaited(sigset_t *set)
{
	static const int signals[] = { SIGCHLD, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH };

	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(set, signals[i]);
}

int netns_command_go(struct netns_command *c)
{
	static const int ignored[] = { SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	_cleanup_close_ int control = TAKE_FD(c->control);
	sigset_t awaited;

	/* Before the command can be stopped or can end. */
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		sigaction(ignored[i], &ignore, NULL);
	fill_awaited(&awaited);
	sigprocmask(SIG_BLOCK, &awaited, NULL);
	return send(control, "g", 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/*
 * Stop as the command did, so that the shell sees it; it continues limpid, which continues
 * the command.
 */
static void follow_stop(pid_t pid, int signal)
{
	struct sigaction plain = { .sa_handler = SIG_DFL }, before;
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, signal);
	sigaction(signal, &plain, &before); /* SIGSTOP: refused, and not needed */
	sigprocmask(SIG_UNBLOCK, &set, &old);
	raise(signal);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (signal != SIGSTOP)
		sigaction(signal, &before, NULL);
	kill(pid, SIGCONT);
}

/* The terminal has told the command itself; a signal of the command's to its group, too. */
static void pass_on(pid_t pid, const siginfo_t *info)
{
	if (info->si_code != SI_KERNEL && info->si_pid != pid)
		kill(pid, info->si_signo);
}

int netns_command_wait(struct netns_command *c)
{
	sigset_t awaited;
	siginfo_t info;
	int status;

	fill_awaited(&awaited);
	for (;;) {
		pid_t pid = waitpid(c->pid, &status, WNOHANG | WUNTRACED);

		if (pid < 0 && errno != EINTR)
			return 1; /* somebody else has reaped it */
		if (pid > 0 && WIFSTOPPED(status)) {
			follow_stop(c->pid, WSTOPSIG(status));
			continue;
		}
		if (pid > 0)
			break;
		if (sigwaitinfo(&awaited, &info) > 0 && info.si_signo != SIGCHLD)
			pass_on(c->pid, &info);
	}
	c->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void netns_command_free(struct netns_command *c)
{
	int status;

	if (!c)
		return;
	if (c->control >= 0)
		close(c->control); /* the helper ends at this */
	if (c->pid > 0 && c->control < 0)
		kill(c->pid, SIGKILL);
	if (c->pid > 0)
		wait_pid(c->pid, &status);
	free(c);
}
