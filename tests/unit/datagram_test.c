/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port with real sockets: clients, servers and the port live in a network namespace of this
 * process's own, where nft diverts every unmarked datagram to the port.  The loopback's MTU is
 * 1500, so that what is larger is fragmented on each way.  Everything is done in this one
 * thread: turn() lets the port's loop handle what is there.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
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

static void feed(const char *command, const char *text)
{
	FILE *f = popen(command, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(pclose(f), 0);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void map_self(uid_t uid, gid_t gid)
{
	char line[64];

	snprintf(line, sizeof(line), "0 %u 1", (unsigned int)uid);
	write_file("/proc/self/uid_map", line);
	write_file("/proc/self/setgroups", "deny");
	snprintf(line, sizeof(line), "0 %u 1", (unsigned int)gid);
	write_file("/proc/self/gid_map", line);
}

static int enter_namespace(void **state)
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

static void on_decide(void *owner, struct facts *facts, struct span first, struct decision *ret)
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

static void on_ended(void *owner, const struct datagram_report *report)
{
	struct env *e = owner;

	assert_true(e->n_reports < REPORTS_MAX);
	e->reports[e->n_reports++] = *report;
}

static const struct datagram_ops ops = { .decide = on_decide, .ended = on_ended };

static void stop_after_round(struct loop *l)
{
	atomic_store(&l->stop, true);
}

/* One turn of the loop, without waiting. */
static void turn(struct env *e)
{
	atomic_store(&e->loop.stop, false);
	loop_wake(&e->loop);
	assert_int_equal(loop_run(&e->loop), 0);
}

static void turns_for_ms(struct env *e, int ms)
{
	for (; ms > 0; ms--) {
		turn(e);
		usleep(1000);
	}
	turn(e);
}

static struct addr addr_of(const char *ip, uint16_t port)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(ip, &a), 0);
	a.port = port;
	return a;
}

static void env_start(struct env *e, struct datagram_config *c)
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

static void env_stop(struct env *e)
{
	datagram_port_free(e->port);
	loop_done(&e->loop);
	free(e->reports);
}

/* ---- clients and servers ---- */

static int bound_socket(const struct addr *a, int mark)
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

static int server_at(const char *ip, uint16_t port)
{
	struct addr a = addr_of(ip, port);

	return bound_socket(&a, MARK);
}

static int client_of(int family, uint16_t port)
{
	struct addr a = addr_of(families[family].client, port);

	return bound_socket(&a, 0);
}

static void connect_to(int fd, const struct addr *a)
{
	union sockaddr_any s;
	socklen_t len = sockaddr_from_addr(&s, a);

	assert_int_equal(connect(fd, &s.sa, len), 0);
}

static void send_to(int fd, const void *data, size_t len_bytes, const struct addr *a)
{
	union sockaddr_any s;
	socklen_t len = sockaddr_from_addr(&s, a);

	assert_int_equal(sendto(fd, data, len_bytes, 0, &s.sa, len), len_bytes);
}

static void send_text(int fd, const char *text, const struct addr *a)
{
	send_to(fd, text, strlen(text), a);
}

/* Turn until a datagram has come.  Return: its length, or -errno. */
static ssize_t recv_from(struct env *e, int fd, void *data, size_t cap_bytes, struct addr *from,
			 int wait_ms)
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

static void expect_text(struct env *e, int fd, const char *text, struct addr *ret_from)
{
	char got[256] = "";
	ssize_t n = recv_from(e, fd, got, sizeof(got) - 1, ret_from, WAIT_MS);

	assert_int_equal(n, strlen(text));
	assert_string_equal(got, text);
}

static void expect_text_from(struct env *e, int fd, const char *text, const struct addr *from)
{
	struct addr got;

	expect_text(e, fd, text, &got);
	assert_true(addr_eq(&got, from));
}

static void expect_error(struct env *e, int fd, int error)
{
	char got[16];

	assert_int_equal(recv_from(e, fd, got, sizeof(got), NULL, WAIT_MS), -error);
}

static void expect_nothing(struct env *e, int fd)
{
	char got[16];

	assert_int_equal(recv_from(e, fd, got, sizeof(got), NULL, 30), -EAGAIN);
}

static const struct datagram_report *expect_report(struct env *e, enum why why)
{
	for (int i = 0; i < WAIT_MS && !e->n_reports; i++)
		turns_for_ms(e, 1);
	assert_int_equal(e->n_reports, 1);
	assert_string_equal(why_word(e->reports[0].why), why_word(why));
	e->n_reports = 0;
	return &e->reports[0];
}

static unsigned int count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- tests; each for both families ---- */

static void one_conversation(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { .idle.other_ms = 60 };
	struct addr target = addr_of(families[f].server, 9000), up;
	int client, server;
	const struct datagram_report *r;

	env_start(&e, &c);
	client = client_of(f, 4000);
	server = server_at(families[f].server, 9000);
	send_text(client, "question", &target);
	expect_text(&e, server, "question", &up);
	assert_int_equal(e.n_decided, 1);
	assert_int_equal(e.decided.network, NETWORK_UDP);
	assert_int_equal(e.decided.listener, 3);
	assert_true(e.decided.settled);
	assert_true(addr_eq(&e.decided.target, &target));
	assert_int_equal(e.decided.client.port, 4000);
	send_text(server, "answer", &up);
	expect_text_from(&e, client, "answer", &target);
	assert_int_equal(datagram_port_stats(e.port)->sessions, 1);
	r = expect_report(&e, WHY_IDLE);
	assert_true(addr_eq(&r->target, &target));
	assert_int_equal(r->client.port, 4000);
	assert_int_equal(r->up.datagrams, 1);
	assert_int_equal(r->up.bytes, 8);
	assert_int_equal(r->down.datagrams, 1);
	assert_int_equal(r->down.bytes, 6);
	assert_int_equal(r->verdict, VERDICT_ACCEPT);
	assert_true(r->end_ms >= r->start_ms && r->end_ms < r->start_ms + WAIT_MS);
	assert_true(r->start_ms > 1700000000000);
	assert_int_equal(datagram_port_stats(e.port)->sessions, 0);
	assert_int_equal(datagram_port_stats(e.port)->entries, 0);
	close(client);
	close(server);
	env_stop(&e);
}

static void all_sizes(int f)
{
	static const size_t sizes[] = { 0,    1,    2,	  3,	 511,	1231,  1452, 1453,
					1472, 1473, 4096, 16385, 60000, 65001, 65507 };
	static uint8_t data[65536], got[65536];
	struct env e = { 0 };
	struct datagram_config c = { 0 };
	struct addr target = addr_of(families[f].server, 9000), up, from;
	int client, server;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761U >> 13);
	env_start(&e, &c);
	client = client_of(f, 4000);
	server = server_at(families[f].server, 9000);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		send_to(client, data, sizes[i], &target);
		assert_int_equal(recv_from(&e, server, got, sizeof(got), &up, WAIT_MS), sizes[i]);
		assert_memory_equal(got, data, sizes[i]);
		memset(got, 0, sizeof(got));
		send_to(server, data + 1, sizes[i], &up);
		assert_int_equal(recv_from(&e, client, got, sizeof(got), &from, WAIT_MS), sizes[i]);
		assert_memory_equal(got, data + 1, sizes[i]);
		assert_true(addr_eq(&from, &target));
	}
	close(client);
	close(server);
	env_stop(&e);
}

static void refused_by_server(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { .idle.refused_ms = 40 };
	struct addr closed = addr_of(families[f].server, 9999);
	struct addr open = addr_of(families[f].server, 9000), up;
	int client, second, server;

	env_start(&e, &c);
	client = client_of(f, 4000);
	second = client_of(f, 4001);
	server = server_at(families[f].server, 9000);
	connect_to(client, &closed);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send(client, "x", 1, 0), 1);
		expect_error(&e, client, ECONNREFUSED);
	}
	assert_int_equal(expect_report(&e, WHY_SERVER_REFUSED)->up.datagrams, 3);

	/* An error that is pending when a batch begins does not cost its first datagram. */
	for (int i = 0; i < UDP_BATCH; i++)
		send_text(second, "x", &closed);
	send_text(second, "still here", &open);
	expect_text(&e, server, "still here", &up);
	close(client);
	close(second);
	close(server);
	env_stop(&e);
}

static void refused_by_policy(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { .idle.refused_ms = 60 };
	struct addr rejected = addr_of(families[f].server, PORT_REJECT);
	struct addr denied = addr_of(families[f].server, PORT_DENY);
	int client, second;

	env_start(&e, &c);
	client = client_of(f, 4000);
	connect_to(client, &rejected);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send(client, "xy", 2, 0), 2);
		expect_error(&e, client, ECONNREFUSED);
	}
	assert_int_equal(e.n_decided, 1);
	assert_int_equal(expect_report(&e, WHY_REJECTED)->up.bytes, 6);
	second = client_of(f, 4001);
	connect_to(second, &denied);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send(second, "xy", 2, 0), 2);
	expect_nothing(&e, second);
	assert_int_equal(e.n_decided, 2);
	assert_int_equal(expect_report(&e, WHY_DENIED)->up.datagrams, 3);
	assert_int_equal(datagram_port_stats(e.port)->icmp_sent, 3);
	close(client);
	close(second);
	env_stop(&e);
}

/* Who may answer, and from where; and all servers see the client at one address. */
static void other_sources(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { 0 };
	struct addr a = addr_of(families[f].server, 9000), b = addr_of(families[f].other, 9000);
	struct addr a_other = addr_of(families[f].server, 9001), seen_a, seen_b;
	int client, at_a, at_a_other, at_b;

	env_start(&e, &c);
	client = client_of(f, 4000);
	at_a = server_at(families[f].server, 9000);
	at_a_other = server_at(families[f].server, 9001);
	at_b = server_at(families[f].other, 9000);
	send_text(client, "one", &a);
	expect_text(&e, at_a, "one", &seen_a);
	send_text(at_a_other, "from another port", &seen_a);
	expect_text_from(&e, client, "from another port", &a_other);
	send_text(at_b, "from a stranger", &seen_a);
	expect_nothing(&e, client);
	assert_int_equal(datagram_port_stats(e.port)->strays, 1);
	send_text(client, "two", &b);
	expect_text(&e, at_b, "two", &seen_b);
	assert_int_equal(seen_a.port, seen_b.port);
	send_text(at_b, "no stranger now", &seen_b);
	send_text(at_a, "nor I", &seen_a);
	expect_text_from(&e, client, "no stranger now", &b);
	expect_text_from(&e, client, "nor I", &a);
	assert_int_equal(datagram_port_stats(e.port)->sessions, 1);
	assert_int_equal(datagram_port_stats(e.port)->entries, 2);
	assert_int_equal(e.n_decided, 2);
	close(client);
	close(at_a);
	close(at_a_other);
	close(at_b);
	env_stop(&e);
}

static void limits(int f)
{
	struct env e = { 0 };
	struct datagram_config c = {
		.limits = { .sessions = 3, .sessions_per_client = 2, .entries_per_session = 2 }
	};
	struct addr target = addr_of(families[f].server, 9000), second = target, third = target;
	struct addr elsewhere = addr_of(families[f].other, 4000);
	int server, clients[4], last;

	second.port++;
	third.port += 2;
	env_start(&e, &c);
	server = server_at(families[f].server, 9000);
	for (int i = 0; i < 2; i++) {
		clients[i] = client_of(f, (uint16_t)(4000 + i));
		send_text(clients[i], "in", &target);
		expect_text(&e, server, "in", NULL);
	}
	clients[2] = client_of(f, 4002); /* the third of this ip */
	connect_to(clients[2], &target);
	assert_int_equal(send(clients[2], "out", 3, 0), 3);
	expect_error(&e, clients[2], ECONNREFUSED);
	expect_report(&e, WHY_LIMIT);
	last = bound_socket(&elsewhere, 0); /* the third session, of another ip */
	send_text(last, "in", &target);
	expect_text(&e, server, "in", NULL);
	elsewhere.port++;
	clients[3] = bound_socket(&elsewhere, 0); /* the fourth session */
	connect_to(clients[3], &target);
	assert_int_equal(send(clients[3], "out", 3, 0), 3);
	expect_error(&e, clients[3], ECONNREFUSED);
	expect_report(&e, WHY_LIMIT);
	send_text(last, "x", &second);
	connect_to(last, &third); /* the third entry */
	assert_int_equal(send(last, "out", 3, 0), 3);
	expect_error(&e, last, ECONNREFUSED);
	assert_true(addr_eq(&expect_report(&e, WHY_LIMIT)->target, &third));
	assert_int_equal(datagram_port_stats(e.port)->sessions, 3);
	assert_int_equal(datagram_port_stats(e.port)->refused, 3);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	close(last);
	close(server);
	env_stop(&e);
}

static void idle_times(int f)
{
	struct env e = { 0 };
	struct datagram_config c = {
		.idle = { .dns_ms = 150, .dns_answered_ms = 20, .quic_ms = 80, .other_ms = 1500 }
	};
	struct addr dns = addr_of(families[f].server, 53), quic = addr_of(families[f].server, 443);
	struct addr other = addr_of(families[f].server, 9000), up;
	int client, at_dns, at_quic, at_other;

	env_start(&e, &c);
	client = client_of(f, 4000);
	at_dns = server_at(families[f].server, 53);
	at_quic = server_at(families[f].server, 443);
	at_other = server_at(families[f].server, 9000);
	send_text(client, "other", &other);
	expect_text(&e, at_other, "other", &up);
	send_text(client, "a?", &dns);
	send_text(client, "b?", &dns);
	expect_text(&e, at_dns, "a?", &up);
	expect_text(&e, at_dns, "b?", &up);
	send_text(at_dns, "a", &up);
	expect_text_from(&e, client, "a", &dns);
	turns_for_ms(&e, 60); /* one is outstanding */
	assert_int_equal(e.n_reports, 0);
	send_text(at_dns, "b", &up);
	expect_text_from(&e, client, "b", &dns);
	assert_int_equal(expect_report(&e, WHY_FINISHED)->target.port, 53);
	for (int i = 0; i < 8; i++) { /* what talks is not idle */
		send_text(client, "q", &quic);
		expect_text(&e, at_quic, "q", NULL);
		turns_for_ms(&e, 20);
	}
	assert_int_equal(e.n_reports, 0);
	assert_int_equal(expect_report(&e, WHY_IDLE)->target.port, 443);
	send_text(client, "c?", &dns);
	assert_int_equal(expect_report(&e, WHY_IDLE)->target.port, 53);
	assert_int_equal(datagram_port_stats(e.port)->sessions, 1);
	assert_int_equal(expect_report(&e, WHY_IDLE)->target.port, 9000);
	assert_int_equal(datagram_port_stats(e.port)->sessions, 0);
	close(client);
	close(at_dns);
	close(at_quic);
	close(at_other);
	env_stop(&e);
}

/* Interleaved bursts: each client gets its own answers, in order, and nothing is lost. */
static void many_clients(int f)
{
	enum { CLIENTS = 100, EACH = 20 };
	struct env e = { 0 };
	struct datagram_config c = { 0 };
	struct addr target = addr_of(families[f].server, 9000), up;
	int server, clients[CLIENTS];
	char text[32], got[32];

	env_start(&e, &c);
	server = server_at(families[f].server, 9000);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = client_of(f, (uint16_t)(4000 + i));
	for (int k = 0; k < EACH; k++) {
		for (int i = 0; i < CLIENTS; i++) {
			snprintf(text, sizeof(text), "%d.%d", i, k);
			send_text(clients[i], text, &target);
		}
		for (int i = 0; i < CLIENTS; i++) {
			ssize_t n = recv_from(&e, server, got, sizeof(got), &up, WAIT_MS);

			assert_true(n > 0);
			send_to(server, got, (size_t)n, &up);
		}
	}
	for (int k = 0; k < EACH; k++) {
		for (int i = 0; i < CLIENTS; i++) {
			snprintf(text, sizeof(text), "%d.%d", i, k);
			expect_text_from(&e, clients[i], text, &target);
		}
	}
	assert_int_equal(datagram_port_stats(e.port)->sessions, CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		expect_nothing(&e, clients[i]);
		close(clients[i]);
	}
	close(server);
	env_stop(&e);
}

static void out_of_descriptors(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { 0 };
	struct addr target = addr_of(families[f].server, 9000), up;
	int server, client, unlucky;
	struct rlimit before, none;

	env_start(&e, &c);
	server = server_at(families[f].server, 9000);
	client = client_of(f, 4000);
	unlucky = client_of(f, 4001);
	send_text(client, "one", &target);
	expect_text(&e, server, "one", &up);
	connect_to(unlucky, &target);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(send(unlucky, "out", 3, 0), 3);
	expect_error(&e, unlucky, ECONNREFUSED);
	assert_int_equal(expect_report(&e, WHY_LIMIT)->up.dropped, 1);
	send_text(client, "two", &target);
	expect_text(&e, server, "two", &up);
	send_text(server, "answer", &up);
	expect_text_from(&e, client, "answer", &target);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(send(unlucky, "in", 2, 0), 2);
	expect_text(&e, server, "in", NULL);
	close(client);
	close(unlucky);
	close(server);
	env_stop(&e);
}

/* "Fragmentation needed" from a router on the way to the server reaches the client. */
static void path_mtu(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { 0 };
	struct addr target = addr_of(families[f].server, 9000);
	struct udp_icmp icmp = { .fault = UDP_FAULT_TOO_BIG, .mtu_bytes = 1400 };
	struct udp_batch *batch = udp_batch_new();
	struct udp_error error;
	int server, client, one = 1, router, r;

	env_start(&e, &c);
	server = server_at(families[f].server, 9000);
	client = client_of(f, 4000);
	assert_int_equal(setsockopt(client, f ? IPPROTO_IPV6 : IPPROTO_IP,
				    f ? IPV6_RECVERR : IP_RECVERR, &one, sizeof(one)),
			 0);
	connect_to(client, &target);
	assert_int_equal(send(client, "large", 5, 0), 5);
	expect_text(&e, server, "large", &icmp.client);
	icmp.target = target;
	icmp.router = addr_of(families[f].other, 0);
	icmp.payload = span_str("large");
	router = udp_raw_icmp(families[f].family, MARK);
	assert_int_equal(udp_icmp_send(router, &icmp), 1);
	expect_error(&e, client, EMSGSIZE);
	for (int i = 0; (r = udp_recv_error(client, batch, &error)) && i < WAIT_MS; i++)
		turns_for_ms(&e, 1);
	assert_int_equal(r, 0);
	assert_int_equal(error.fault, UDP_FAULT_TOO_BIG);
	assert_int_equal(error.mtu_bytes, 1400);
	assert_true(addr_eq(&error.target, &target));
	assert_true(addr_ip_eq(&error.router, &icmp.router));
	assert_true(span_eq_str(error.payload, "large"));
	udp_batch_free(batch);
	close(router);
	close(client);
	close(server);
	env_stop(&e);
}

static int received_tos(struct env *e, int fd, struct addr *ret_from)
{
	struct udp_batch *batch = udp_batch_new();
	struct udp_packet packets[UDP_BATCH];
	int n = 0;

	for (int i = 0; i < WAIT_MS && n <= 0; i++) {
		turns_for_ms(e, 1);
		n = udp_recv_batch(fd, batch, packets);
	}
	udp_batch_free(batch);
	assert_int_equal(n, 1);
	*ret_from = packets[0].from;
	return packets[0].tos;
}

/* DSCP and ECN belong to the ends. */
static void type_of_service(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { 0 };
	struct addr target = addr_of(families[f].server, 9000), up, from;
	int server, client, tos = 0xb9, one = 1; /* EF, ECT(1) */
	int level = f ? IPPROTO_IPV6 : IPPROTO_IP, set = f ? IPV6_TCLASS : IP_TOS;
	int receive = f ? IPV6_RECVTCLASS : IP_RECVTOS;

	env_start(&e, &c);
	server = server_at(families[f].server, 9000);
	client = client_of(f, 4000);
	assert_int_equal(setsockopt(server, level, receive, &one, sizeof(one)), 0);
	assert_int_equal(setsockopt(client, level, receive, &one, sizeof(one)), 0);
	assert_int_equal(setsockopt(client, level, set, &tos, sizeof(tos)), 0);
	send_text(client, "x", &target);
	assert_int_equal(received_tos(&e, server, &up), tos);
	tos = 0x2a; /* AF11, ECT(0) */
	assert_int_equal(setsockopt(server, level, set, &tos, sizeof(tos)), 0);
	send_text(server, "y", &up);
	assert_int_equal(received_tos(&e, client, &from), tos);
	close(client);
	close(server);
	env_stop(&e);
}

/* The client lives on this host, so its port cannot be kept, but its address can. */
static void kept_source(int f)
{
	struct env e = { .plan.source = SOURCE_KEEP };
	struct datagram_config c = { 0 };
	struct addr target = addr_of(families[f].server, 9000), up;
	int server, client, strict;

	env_start(&e, &c);
	server = server_at(families[f].server, 9000);
	client = client_of(f, 4000);
	send_text(client, "kept", &target);
	expect_text(&e, server, "kept", &up);
	assert_true(addr_ip_eq(&up, &e.decided.client));
	assert_int_not_equal(up.port, 4000);
	e.plan.strict = true;
	strict = client_of(f, 4001);
	connect_to(strict, &target);
	assert_int_equal(send(strict, "x", 1, 0), 1);
	expect_error(&e, strict, ECONNREFUSED);
	expect_report(&e, WHY_SOURCE);
	close(client);
	close(strict);
	close(server);
	datagram_port_free(e.port);
	e.port = NULL;
	assert_int_equal(expect_report(&e, WHY_SHUTDOWN)->source, SOURCE_KEEP_ADDRESS);
	env_stop(&e);
}

static void loop_refused(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { 0 };
	struct addr target = addr_of(families[f].loopback, LISTEN_PORT);
	int client;

	env_start(&e, &c);
	client = client_of(f, 4000);
	connect_to(client, &target);
	assert_int_equal(send(client, "x", 1, 0), 1);
	expect_error(&e, client, ECONNREFUSED);
	expect_report(&e, WHY_LOOP);
	assert_int_equal(datagram_port_stats(e.port)->sessions_total, 0);
	close(client);
	env_stop(&e);
}

static void ten_thousand_in_turn(int f)
{
	enum { ALL = 10000, WARM = 500 };
	struct env e = { 0 };
	struct datagram_config c = { .idle.dns_answered_ms = 1 };
	struct addr target = addr_of(families[f].server, 53), up, from;
	size_t bytes_before = 0;
	unsigned int descriptors_before = 0;
	char got[8];
	int server;

	env_start(&e, &c);
	server = server_at(families[f].server, 53);
	for (int i = 0; i < ALL; i++) {
		int client = client_of(f, (uint16_t)(10000 + i % 20000));

		if (i == WARM) {
			turns_for_ms(&e, 50);
			bytes_before = mallinfo2().uordblks;
			descriptors_before = count_descriptors();
		}
		send_text(client, "?", &target);
		assert_int_equal(recv_from(&e, server, got, sizeof(got), &up, WAIT_MS), 1);
		send_text(server, "!", &up);
		assert_int_equal(recv_from(&e, client, got, sizeof(got), &from, WAIT_MS), 1);
		close(client);
	}
	turns_for_ms(&e, 50);
	assert_int_equal(datagram_port_stats(e.port)->sessions_total, ALL);
	assert_int_equal(datagram_port_stats(e.port)->sessions, 0);
	assert_int_equal(e.n_reports, ALL);
	for (int i = 0; i < ALL; i++)
		assert_int_equal(e.reports[i].why, WHY_FINISHED);
	assert_int_equal(count_descriptors() + 1, descriptors_before); /* + the open client */
	/* Two bytes per session would show; what malloc's own caches hold counts as in use. */
	assert_true(mallinfo2().uordblks < bytes_before + 2 * (size_t)ALL);
	close(server);
	env_stop(&e);
}

/* What the kernel has counted since the namespace exists, or -1. */
static long count_of(const char *path, const char *pattern, int field)
{
	char command[256], line[32] = "";
	FILE *f;

	snprintf(command, sizeof(command), "awk '$1 == \"%s\" { v = $%d } END { print v }' %s",
		 pattern, field, path);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	pclose(f);
	return line[0] == '\n' ? -1 : strtol(line, NULL, 10);
}

static void no_bad_checksums(void **state)
{
	(void)state;
	assert_true(count_of("/proc/net/snmp", "Udp:", 2) > 20000); /* we look at our own */
	assert_int_equal(count_of("/proc/net/snmp", "Udp:", 8), 0);
	assert_int_equal(count_of("/proc/net/snmp", "Icmp:", 4), 0);
	assert_int_equal(count_of("/proc/net/snmp6", "Udp6InCsumErrors", 2), 0);
	assert_int_equal(count_of("/proc/net/snmp6", "Icmp6InCsumErrors", 2), 0);
}

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

BOTH(one_conversation)
BOTH(all_sizes)
BOTH(refused_by_server)
BOTH(refused_by_policy)
BOTH(other_sources)
BOTH(limits)
BOTH(idle_times)
BOTH(many_clients)
BOTH(out_of_descriptors)
BOTH(path_mtu)
BOTH(type_of_service)
BOTH(kept_source)
BOTH(loop_refused)
BOTH(ten_thousand_in_turn)

#define UNIT_BOTH(name) cmocka_unit_test(test_##name##_v4), cmocka_unit_test(test_##name##_v6)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT_BOTH(one_conversation),
		UNIT_BOTH(all_sizes),
		UNIT_BOTH(refused_by_server),
		UNIT_BOTH(refused_by_policy),
		UNIT_BOTH(other_sources),
		UNIT_BOTH(limits),
		UNIT_BOTH(idle_times),
		UNIT_BOTH(many_clients),
		UNIT_BOTH(out_of_descriptors),
		UNIT_BOTH(path_mtu),
		UNIT_BOTH(type_of_service),
		UNIT_BOTH(kept_source),
		UNIT_BOTH(loop_refused),
		UNIT_BOTH(ten_thousand_in_turn),
		cmocka_unit_test(no_bad_checksums),
	};

	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
