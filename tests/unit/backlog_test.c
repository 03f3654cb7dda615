/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/backlog.h"
#include "sys/sock.h"

struct place {
	int listen_fd;
	struct addr address;
	struct backlog backlog;
	uint64_t now_ms;
};

static int place_open(void **state)
{
	static struct place p;

	p = (struct place){ .address = { .family = 4, .ip = { 127, 0, 0, 1 } }, .now_ms = 1000 };
	p.listen_fd = sock_listen_tcp(&p.address, false, 0);
	assert_true(p.listen_fd >= 0);
	assert_int_equal(sock_local(p.listen_fd, &p.address), 0);
	*state = &p;
	return 0;
}

static int place_close(void **state)
{
	struct place *p = *state;

	close(p->listen_fd);
	return 0;
}

/* One connection comes, waits for at least so long, is accepted, and looked at. */
static void visit(struct place *p, long wait_ms)
{
	const struct timespec wait = { .tv_nsec = wait_ms * 1000000 };
	struct addr from;
	int client = sock_connect(&p->address, NULL, 0, 0, NULL), fd;

	assert_true(client >= 0);
	nanosleep(&wait, NULL);
	fd = sock_accept(p->listen_fd, &from);
	assert_true(fd >= 0);
	backlog_look(&p->backlog, p->listen_fd, fd, p->now_ms);
	close(fd);
	close(client);
}

/* What the kernel says how many may wait: sk_max_ack_backlog, as tcp_get_info() reports it. */
static unsigned int allowed(const struct place *p)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	assert_int_equal(getsockopt(p->listen_fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_sacked;
}

static void long_waits_make_it_shorter(void **state)
{
	struct place *p = *state;
	unsigned int first;

	visit(p, 250);
	first = atomic_load(&p->backlog.cut);
	assert_in_range(first, BACKLOG_MIN, BACKLOG_MAX / 2);
	assert_int_equal(allowed(p), first);
	p->now_ms += 1000;
	visit(p, 250);
	assert_in_range(allowed(p), BACKLOG_MIN, first / 2);
}

static void never_shorter_than_the_least(void **state)
{
	struct place *p = *state;

	for (int i = 0; i < 8; i++, p->now_ms += 1000)
		visit(p, 250);
	assert_int_equal(allowed(p), BACKLOG_MIN);
}

static void grows_back_once_they_wait_no_more(void **state)
{
	struct place *p = *state;
	unsigned int most = allowed(p);

	visit(p, 250);
	assert_int_not_equal(allowed(p), most);
	/* Each at once, unless this process is held up for long. */
	for (int i = 0; i < 100 && atomic_load(&p->backlog.cut); i++) {
		p->now_ms += 1000;
		visit(p, 0);
	}
	assert_int_equal(allowed(p), most);
}

static void looks_once_in_a_while(void **state)
{
	struct place *p = *state;

	visit(p, 0);
	p->now_ms += 50;
	visit(p, 250);
	assert_int_equal(atomic_load(&p->backlog.cut), 0);
}

static void waiting_at_a_limit_is_no_reason(void **state)
{
	struct place *p = *state;

	backlog_excuse(&p->backlog, p->now_ms);
	p->now_ms += 1000;
	visit(p, 250);
	assert_int_equal(atomic_load(&p->backlog.cut), 0);
	p->now_ms += 10000;
	visit(p, 250);
	assert_int_not_equal(atomic_load(&p->backlog.cut), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(long_waits_make_it_shorter, place_open,
						place_close),
		cmocka_unit_test_setup_teardown(never_shorter_than_the_least, place_open,
						place_close),
		cmocka_unit_test_setup_teardown(grows_back_once_they_wait_no_more, place_open,
						place_close),
		cmocka_unit_test_setup_teardown(looks_once_in_a_while, place_open, place_close),
		cmocka_unit_test_setup_teardown(waiting_at_a_limit_is_no_reason, place_open,
						place_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
