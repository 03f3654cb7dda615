/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_DATAGRAM_FIXTURE_H
#define UNIT_DATAGRAM_FIXTURE_H

/*
 * A port with real sockets: clients, servers and the port live in a network namespace of this
 * process's own, where nft diverts every unmarked datagram to the port.  The loopback's MTU is
 * 1500, so that what is larger is fragmented on each way.  Everything is done in this one
 * thread: turn() lets the port's loop handle what is there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/datagram.h"
#include "sys/sockaddr.h"
#include "sys/udp.h"
#include "sys/udp_raw.h"

#define MARK 0x6c70
#define LISTEN_PORT 50080
#define WAIT_MS 3000
#define PORT_REJECT 7001
#define PORT_DENY 7002
#define REPORTS_MAX 20000

static const struct {
	const char *client, *server, *other, *loopback;
	uint8_t family;
} families[] = {
	{ "10.9.0.1", "10.9.1.1", "10.9.1.2", "127.0.0.1", 4 },
	{ "fd09::1", "fd09:1::1", "fd09:1::2", "::1", 6 },
};

struct env {
	struct loop loop;
	struct datagram_port *port;
	struct plan plan; /* of accepted entries */
	unsigned int n_decided;
	struct facts decided; /* the last one */
	struct datagram_report *reports;
	unsigned int n_reports;
};

/* ---- the namespace ---- */

static const char *const ip_script = "link set lo mtu 1500 up\n"
				     "addr add 10.9.0.1/32 dev lo\n"
				     "addr add 10.9.1.1/32 dev lo\n"
				     "addr add 10.9.1.2/32 dev lo\n"
				     "addr add fd09::1/128 dev lo nodad\n"
				     "addr add fd09:1::1/128 dev lo nodad\n"
				     "addr add fd09:1::2/128 dev lo nodad\n"
				     "rule add fwmark 1 lookup 100\n"
				     "route add local 0.0.0.0/0 dev lo table 100\n";

static const char *const ip6_script = "rule add fwmark 1 lookup 100\n"
				      "route add local ::/0 dev lo table 100\n";

static const char *const nft_script = "table inet test {\n"
				      " chain out { type route hook output priority mangle;\n"
				      "  meta mark 0x6c70 return\n"
				      "  meta l4proto udp meta mark set 1\n"
				      " }\n"
				      " chain pre { type filter hook prerouting priority mangle;\n"
				      "  iifname lo meta mark 1 meta nfproto ipv4 meta l4proto udp"
				      "   tproxy ip to 127.0.0.1:50080 accept\n"
				      "  iifname lo meta mark 1 meta nfproto ipv6 meta l4proto udp"
				      "   tproxy ip6 to [::1]:50080 accept\n"
				      " }\n"
				      "}\n";

static inline void feed(const char *command, const char *text)
{
	FILE *f = popen(command, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(pclose(f), 0);
}

static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static inline void map_self(uid_t uid, gid_t gid)
{
	char line[64];

	snprintf(line, sizeof(line), "0 %u 1", (unsigned int)uid);
	write_file("/proc/self/uid_map", line);
	write_file("/proc/self/setgroups", "deny");
	snprintf(line, sizeof(line), "0 %u 1", (unsigned int)gid);
	write_file("/proc/self/gid_map", line);
}

static inline int enter_namespace(void **state)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	(void)state;
	if (unshare(CLONE_NEWNET) < 0) {
		assert_int_equal(unshare(CLONE_NEWUSER | CLONE_NEWNET), 0);
		map_self(uid, gid);
	}
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	feed("ip -batch -", ip_script);
	feed("ip -6 -batch -", ip6_script);
	feed("nft -f -", nft_script);
	return 0;
}

/* ---- the port and its owner ---- */

static inline void on_decide(void *owner, struct facts *facts, struct span first,
			     struct decision *ret)
{
	struct env *e = owner;

	(void)first;
	e->n_decided++;
	e->decided = *facts;
	ret->final = true;
	ret->plan = e->plan;
	ret->verdict = facts->target.port == PORT_REJECT ? VERDICT_REJECT
		       : facts->target.port == PORT_DENY ? VERDICT_DENY
							 : VERDICT_ACCEPT;
}

static inline void on_ended(void *owner, const struct datagram_report *report)
{
	struct env *e = owner;

	assert_true(e->n_reports < REPORTS_MAX);
	e->reports[e->n_reports++] = *report;
}

static const struct datagram_ops ops = { .decide = on_decide, .ended = on_ended };

static inline void stop_after_round(struct loop *l)
{
	atomic_store(&l->stop, true);
}

/* One turn of the loop, without waiting. */
static inline void turn(struct env *e)
{
	atomic_store(&e->loop.stop, false);
	loop_wake(&e->loop);
	assert_int_equal(loop_run(&e->loop), 0);
}

/* By the clock: on a busy machine many short sleeps take far longer than their sum. */
static inline void turns_for_ms(struct env *e, int ms)
{
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += ms * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	do {
		turn(e);
		usleep(1000);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec ||
		 (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	turn(e);
}

static inline struct addr addr_of(const char *ip, uint16_t port)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(ip, &a), 0);
	a.port = port;
	return a;
}

static inline void env_start(struct env *e, struct datagram_config *c)
{
	assert_int_equal(loop_init(&e->loop), 0);
	e->loop.on_round = stop_after_round;
	e->reports = calloc(REPORTS_MAX, sizeof(*e->reports));
	assert_non_null(e->reports);
	for (int i = 0; i < 2; i++) {
		struct addr a = addr_of(families[i].loopback, LISTEN_PORT);

		c->listen_fd[i] = udp_listen(&a, true, MARK);
		c->reply_fd[i] = udp_raw_reply(families[i].family, MARK);
		c->icmp_fd[i] = udp_raw_icmp(families[i].family, MARK);
		assert_true(c->listen_fd[i] >= 0);
		assert_true(c->reply_fd[i] >= 0);
		assert_true(c->icmp_fd[i] >= 0);
	}
	c->mark = MARK;
	c->listener = 3;
	c->ops = &ops;
	c->owner = e;
	assert_int_equal(datagram_port_new(&e->loop, c, &e->port), 0);
}

static inline void env_stop(struct env *e)
{
	datagram_port_free(e->port);
	loop_done(&e->loop);
	free(e->reports);
}

/* ---- clients and servers ---- */

static inline int bound_socket(const struct addr *a, int mark)
{
	union sockaddr_any s;
	socklen_t len = sockaddr_from_addr(&s, a);
	int fd = socket(s.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int size = 1 << 20;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (mark)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	assert_int_equal(bind(fd, &s.sa, len), 0);
	return fd;
}

static inline int server_at(const char *ip, uint16_t port)
{
	struct addr a = addr_of(ip, port);

	return bound_socket(&a, MARK);
}

static inline int client_of(int family, uint16_t port)
{
	struct addr a = addr_of(families[family].client, port);

	return bound_socket(&a, 0);
}

static inline void connect_to(int fd, const struct addr *a)
{
	union sockaddr_any s;
	socklen_t len = sockaddr_from_addr(&s, a);

	assert_int_equal(connect(fd, &s.sa, len), 0);
}

static inline void send_to(int fd, const void *data, size_t len_bytes, const struct addr *a)
{
	union sockaddr_any s;
	socklen_t len = sockaddr_from_addr(&s, a);

	assert_int_equal(sendto(fd, data, len_bytes, 0, &s.sa, len), len_bytes);
}

static inline void send_text(int fd, const char *text, const struct addr *a)
{
	send_to(fd, text, strlen(text), a);
}

/* Turn until a datagram has come.  Return: its length, or -errno. */
static inline ssize_t recv_from(struct env *e, int fd, void *data, size_t cap_bytes,
				struct addr *from, int wait_ms)
{
	union sockaddr_any s;
	struct addr ignored;

	for (int i = 0; i <= wait_ms; i++) {
		socklen_t len = sizeof(s);
		ssize_t n;

		turn(e);
		n = recvfrom(fd, data, cap_bytes, 0, &s.sa, &len);
		if (n >= 0)
			sockaddr_to_addr(&s, from ? from : &ignored);
		if (n >= 0 || errno != EAGAIN)
			return n < 0 ? -errno : n;
		usleep(i ? 1000 : 0);
	}
	return -EAGAIN;
}

static inline void expect_text(struct env *e, int fd, const char *text, struct addr *ret_from)
{
	char got[256] = "";
	ssize_t n = recv_from(e, fd, got, sizeof(got) - 1, ret_from, WAIT_MS);

	assert_int_equal(n, strlen(text));
	assert_string_equal(got, text);
}

static inline void expect_text_from(struct env *e, int fd, const char *text,
				    const struct addr *from)
{
	struct addr got;

	expect_text(e, fd, text, &got);
	assert_true(addr_eq(&got, from));
}

static inline void expect_error(struct env *e, int fd, int error)
{
	char got[16];

	assert_int_equal(recv_from(e, fd, got, sizeof(got), NULL, WAIT_MS), -error);
}

static inline void expect_nothing(struct env *e, int fd)
{
	char got[16];

	assert_int_equal(recv_from(e, fd, got, sizeof(got), NULL, 30), -EAGAIN);
}

static inline const struct datagram_report *expect_report(struct env *e, enum why why)
{
	for (int i = 0; i < WAIT_MS && !e->n_reports; i++)
		turns_for_ms(e, 1);
	assert_int_equal(e->n_reports, 1);
	assert_string_equal(why_word(e->reports[0].why), why_word(why));
	e->n_reports = 0;
	return &e->reports[0];
}

/* A test for both families, from a function of the index in families[]. */
#define BOTH(name)                                                                                 \
	static void test_##name##_v4(void **state)                                                 \
	{                                                                                          \
		(void)state;                                                                       \
		name(0);                                                                           \
	}                                                                                          \
	static void test_##name##_v6(void **state)                                                 \
	{                                                                                          \
		(void)state;                                                                       \
		name(1);                                                                           \
	}

#define UNIT_BOTH(name) cmocka_unit_test(test_##name##_v4), cmocka_unit_test(test_##name##_v6)

#endif
