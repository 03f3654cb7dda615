/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/fdpass.h"

static int make_pair(void **state)
{
	static int ends[2];

	*state = ends;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
}

static int close_pair(void **state)
{
	int *ends = *state;

	close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	return 0;
}

static void descriptors_arrive_in_order_and_close_on_exec(void **state)
{
	int *ends = *state, fds[FDPASS_MAX], sent[FDPASS_MAX];
	char text[8];
	size_t count = 0;

	for (size_t i = 0; i < FDPASS_MAX; i++)
		sent[i] = open(i % 2 ? "/dev/null" : "/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fdpass_send(ends[0], "hello", 5, sent, FDPASS_MAX), 0);
	assert_int_equal(fdpass_receive(ends[1], text, sizeof(text), fds, &count), 5);
	assert_memory_equal(text, "hello", 5);
	assert_int_equal(count, FDPASS_MAX);
	for (size_t i = 0; i < FDPASS_MAX; i++) {
		struct stat a, b;

		assert_int_equal(fstat(sent[i], &a), 0);
		assert_int_equal(fstat(fds[i], &b), 0);
		assert_true(a.st_rdev == b.st_rdev);
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		close(sent[i]);
		close(fds[i]);
	}
}

static void a_message_needs_no_descriptors(void **state)
{
	int *ends = *state, fds[FDPASS_MAX];
	char text[8];
	size_t count = 7;

	assert_int_equal(fdpass_send(ends[0], "x", 1, NULL, 0), 0);
	assert_int_equal(fdpass_receive(ends[1], text, sizeof(text), fds, &count), 1);
	assert_int_equal(count, 0);
}

static void what_does_not_fit_leaves_nothing_open(void **state)
{
	int *ends = *state, fds[FDPASS_MAX], next;
	char text[2];
	size_t count;

	next = dup(ends[0]); /* the lowest free descriptor, before and after */
	close(next);
	assert_int_equal(fdpass_send(ends[0], "long", 4, ends, 2), 0);
	assert_int_equal(fdpass_receive(ends[1], text, sizeof(text), fds, &count), -EMSGSIZE);
	assert_int_equal(dup(ends[0]), next);
	close(next);
	assert_int_equal(fdpass_send(ends[0], "x", 1, fds, FDPASS_MAX + 1), -E2BIG);
}

static void a_closed_end_is_told(void **state)
{
	int *ends = *state, fds[FDPASS_MAX];
	char text[8];
	size_t count;

	assert_int_equal(fdpass_receive(ends[0], text, sizeof(text), fds, &count), -EAGAIN);
	close(ends[1]);
	ends[1] = -1;
	assert_int_equal(fdpass_receive(ends[0], text, sizeof(text), fds, &count), 0);
	assert_int_equal(fdpass_send(ends[0], "x", 1, NULL, 0), -EPIPE);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_pair, close_pair)
	const struct CMUnitTest tests[] = {
		TEST(descriptors_arrive_in_order_and_close_on_exec),
		TEST(a_message_needs_no_descriptors),
		TEST(what_does_not_fit_leaves_nothing_open),
		TEST(a_closed_end_is_told),
	};

	return cmocka_run_group_tests_name("fdpass", tests, NULL, NULL);
}
