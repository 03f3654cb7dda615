/* SPDX-License-Identifier: Apache-2.0 */
/* Whose datagram has come: somebody's, or limpid's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/own_ports.h"
#include "sys/sock.h"
#include "sys/udp.h"

static struct addr address(const char *ip, uint16_t port)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(ip, &a), 0);
	a.port = port;
	return a;
}

static struct own_port *add(struct own_ports *t, const struct addr *source, int *ret_fd)
{
	struct own_port *p;

	*ret_fd = udp_upstream(4, source, false, 0);
	assert_true(*ret_fd >= 0);
	assert_int_equal(own_ports_add(t, *ret_fd, &p), 0);
	assert_int_not_equal(p->address.port, 0); /* before anything was sent */
	return p;
}

static void test_ports(void **state)
{
	struct addr there = address("192.0.2.1", 53), bound = address("127.0.0.1", 0);
	struct own_ports t;
	struct own_port *any, *one;
	struct addr here, other;
	int fds[2];

	own_ports_init(&t);
	atomic_store(&t.told, true); /* not on the screen */
	any = add(&t, NULL, &fds[0]);
	one = add(&t, &bound, &fds[1]);
	here = address("127.0.0.1", any->address.port);
	assert_true(own_ports_came_back(&t, &here, &there, 1));
	assert_true(any->looped && !one->looped);
	other = address("192.0.2.77", any->address.port); /* not of this host */
	assert_false(own_ports_came_back(&t, &other, &there, 1));
	here = address("127.0.0.1", one->address.port);
	assert_true(own_ports_came_back(&t, &here, &there, 1));
	assert_true(one->looped);
	here.port = there.port;
	assert_false(own_ports_came_back(&t, &here, &there, 1));
	here.port = one->address.port;
	own_ports_del(&t, one);
	assert_false(own_ports_came_back(&t, &here, &there, 1));
	own_ports_del(&t, any);
	own_ports_del(&t, NULL);
	own_ports_done(&t);
	close(fds[0]);
	close(fds[1]);
}

/* A client's own address is noted once, and is not mistaken for limpid's. */
static void test_kept(void **state)
{
	struct addr client = address("192.0.2.7", 5000), other = address("192.0.2.7", 5001);
	struct addr there = address("192.0.2.1", 53);
	struct own_port *first, *second, *third;
	struct own_ports t;

	own_ports_init(&t);
	assert_int_equal(own_ports_keep(&t, &client, &first), 0);
	assert_int_equal(own_ports_keep(&t, &client, &second), -EADDRINUSE);
	assert_int_equal(own_ports_keep(&t, &other, &third), 0);
	assert_false(own_ports_came_back(&t, &client, &there, 1));
	own_ports_del(&t, first);
	assert_int_equal(own_ports_keep(&t, &client, &second), 0);
	own_ports_del(&t, second);
	own_ports_del(&t, third);
	own_ports_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ports),
					    cmocka_unit_test(test_kept) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
