/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropping is for good, so each test drops in a child; its exit status is the line that failed.
 * The process that makes sockets, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/privileges.h"
#include "sys/sock.h"
#include "sys/socket_maker.h"

#define USER "nobody"
#define UID 65534

/* In a child; 0 or the number of the line that did not hold. */
#define HOLDS(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return __LINE__;                                                           \
	} while (0)

static void in_child(int (*work)(void))
{
	int status = 0, ends[2], line = 0;
	pid_t pid;

	if (geteuid()) {
		print_message("only root has something to drop\n");
		skip();
	}
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		line = work();
		(void)!write(ends[1], &line, sizeof(line));
		_exit(0);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &line, sizeof(line)), sizeof(line));
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (line)
		fail_msg("line %d", line);
}

static int set_option(int level, int option)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, r;

	r = setsockopt(fd, level, option, &on, sizeof(on));
	close(fd);
	return r;
}

static int drop_with_needs(void)
{
	char error[128];
	uid_t r, e, s;

	HOLDS(!prctl(PR_SET_PDEATHSIG, SIGTERM));
	HOLDS(!privileges_drop(USER, 1u << PRIVILEGE_TRANSPARENT | 1u << PRIVILEGE_MARK, error,
			       sizeof(error)));
	HOLDS(!getresuid(&r, &e, &s) && r == UID && e == UID && s == UID);
	HOLDS(getgroups(0, NULL) <= 1);
	HOLDS(setuid(0) < 0 && errno == EPERM);
	HOLDS(!set_option(IPPROTO_IP, IP_TRANSPARENT));
	HOLDS(!set_option(SOL_SOCKET, SO_MARK));
	HOLDS(unshare(CLONE_NEWNET) < 0 && errno == EPERM);
	HOLDS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	HOLDS(!prctl(PR_GET_PDEATHSIG, &e) && e == SIGTERM);
	return 0;
}

static int drop_without_needs(void)
{
	char error[128];

	HOLDS(!privileges_drop(USER, 0, error, sizeof(error)));
	HOLDS(set_option(IPPROTO_IP, IP_TRANSPARENT) < 0 && errno == EPERM);
	HOLDS(set_option(SOL_SOCKET, SO_MARK) < 0 && errno == EPERM);
	return 0;
}

static int drop_to_nobody_known(void)
{
	char error[128];

	HOLDS(privileges_drop("no-such-user", 0, error, sizeof(error)) == -ENOENT);
	HOLDS(strstr(error, "'no-such-user'"));
	HOLDS(!geteuid() && !set_option(SOL_SOCKET, SO_MARK)); /* nothing was given away */
	HOLDS(!prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	return 0;
}

static int drop_twice(void)
{
	char error[128];

	HOLDS(!privileges_drop(USER, 0, error, sizeof(error)));
	HOLDS(privileges_drop("root", 0, error, sizeof(error)) == -EPERM);
	HOLDS(strstr(error, "needs root"));
	return 0;
}

static int drop_all(void)
{
	HOLDS(!privileges_drop_all());
	HOLDS(!geteuid());
	HOLDS(set_option(SOL_SOCKET, SO_MARK) < 0 && errno == EPERM);
	HOLDS(syscall(SYS_setuid, UID) < 0 && errno == EPERM); /* of this thread only */
	return 0;
}

static uid_t owner(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? (uid_t)-2 : st.st_uid;
}

/* More than one batch, both families and kinds by turns; then the maker is killed. */
static int sockets_of_root(void)
{
	struct socket_maker *m;
	int fds[100], domain, type;
	socklen_t len = sizeof(domain);
	char error[128];

	HOLDS(!socket_maker_new(&m));
	HOLDS(!privileges_drop(USER, 0, error, sizeof(error)));
	for (int i = 0; i < 100; i++) {
		fds[i] = i % 5 ? socket_maker_take(m, i % 3 ? 4 : 6)
			       : socket_maker_take_udp(m, i % 3 ? 4 : 6);
		HOLDS(fds[i] >= 0);
		HOLDS(owner(fds[i]) == 0);
		HOLDS(!getsockopt(fds[i], SOL_SOCKET, SO_DOMAIN, &domain, &len));
		HOLDS(domain == (i % 3 ? AF_INET : AF_INET6));
		HOLDS(!getsockopt(fds[i], SOL_SOCKET, SO_TYPE, &type, &len));
		HOLDS(type == (i % 5 ? SOCK_STREAM : SOCK_DGRAM));
		HOLDS(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		HOLDS(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
	}
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	socket_maker_free(m);
	HOLDS(waitpid(-1, NULL, 0) < 0 && errno == ECHILD); /* it is gone, and reaped */
	return 0;
}

/* Its only child is the maker: end it, and go on. */
static int sockets_without_maker(void)
{
	char error[128], path[64], text[32] = "";
	struct socket_maker *m;
	FILE *f;
	int fd;

	HOLDS(!socket_maker_new(&m));
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "re");
	HOLDS(f && fgets(text, sizeof(text), f));
	fclose(f);
	HOLDS(!kill(atoi(text), SIGKILL));
	HOLDS(!privileges_drop(USER, 0, error, sizeof(error)));
	(void)!freopen("/dev/null", "w", stderr);
	for (int i = 0; i < 40; i++) {
		fd = socket_maker_take(m, 4);
		HOLDS(fd >= 0 && owner(fd) == UID);
		close(fd);
	}
	socket_maker_free(m);
	return 0;
}

#define CHILD(f)                                                                                   \
	static void test_##f(void **state)                                                         \
	{                                                                                          \
		(void)state;                                                                       \
		in_child(f);                                                                       \
	}
CHILD(drop_with_needs)
CHILD(drop_without_needs)
CHILD(drop_to_nobody_known)
CHILD(drop_twice)
CHILD(drop_all)
CHILD(sockets_of_root)
CHILD(sockets_without_maker)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_drop_with_needs),
		cmocka_unit_test(test_drop_without_needs),
		cmocka_unit_test(test_drop_to_nobody_known),
		cmocka_unit_test(test_drop_twice),
		cmocka_unit_test(test_drop_all),
		cmocka_unit_test(test_sockets_of_root),
		cmocka_unit_test(test_sockets_without_maker),
	};

	return cmocka_run_group_tests_name("privileges", tests, NULL, NULL);
}
