/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/notify.h"

/* A manager that listens on @name, '@' first for the abstract kind. */
static int manager(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(a.sun_path, name, len);
	if (*name == '@')
		a.sun_path[0] = '\0';
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
			 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
	return fd;
}

static void expect(int fd, const char *text)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got), 0);

	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void reaches_a_socket_with_a_path(void **state)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/tmp/limpid-notify-%d", getpid());
	unlink(name);
	fd = manager(name);
	assert_int_equal(notify_send("READY=1\nSTATUS=serving"), 1);
	unlink(name);
	expect(fd, "READY=1\nSTATUS=serving");
	close(fd);
}

static void reaches_an_abstract_socket(void **state)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "@limpid-notify-%d", getpid());
	fd = manager(name);
	assert_int_equal(notify_send("STOPPING=1"), 1);
	expect(fd, "STOPPING=1");
	close(fd);
}

static void says_nothing_when_nobody_asks(void **state)
{
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_send("READY=1"), 0);
}

static void odd_addresses_are_errors(void **state)
{
	char longest[sizeof(((struct sockaddr_un *)0)->sun_path) + 2];

	setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
	assert_int_equal(notify_send("READY=1"), -EAFNOSUPPORT);
	setenv("NOTIFY_SOCKET", "@", 1);
	assert_int_equal(notify_send("READY=1"), -EINVAL);
	setenv("NOTIFY_SOCKET", "/nobody/listens/here", 1);
	assert_int_equal(notify_send("READY=1"), -ENOENT);
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(notify_send("READY=1"), -EINVAL);
	longest[sizeof(longest) - 2] = '\0'; /* fills sun_path: no room for the NUL */
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(notify_send("READY=1"), -EINVAL);
	longest[0] = '@'; /* such a name needs none */
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(notify_send("READY=1"), -ECONNREFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reaches_a_socket_with_a_path),
		cmocka_unit_test(reaches_an_abstract_socket),
		cmocka_unit_test(says_nothing_when_nobody_asks),
		cmocka_unit_test(odd_addresses_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
