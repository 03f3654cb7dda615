/* SPDX-License-Identifier: Apache-2.0 */
/* What passes: original destinations, exact sources, every size, every client its own. */
#include "datagram_fixture.h"

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
	assert_true(count_of("/proc/net/snmp", "Udp:", 2) > 2000); /* we look at our own */
	assert_int_equal(count_of("/proc/net/snmp", "Udp:", 8), 0);
	assert_int_equal(count_of("/proc/net/snmp", "Icmp:", 4), 0);
	assert_int_equal(count_of("/proc/net/snmp6", "Udp6InCsumErrors", 2), 0);
	assert_int_equal(count_of("/proc/net/snmp6", "Icmp6InCsumErrors", 2), 0);
}

BOTH(one_conversation)
BOTH(all_sizes)
BOTH(other_sources)
BOTH(many_clients)
BOTH(type_of_service)
BOTH(kept_source)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT_BOTH(one_conversation),	    UNIT_BOTH(all_sizes),
		UNIT_BOTH(other_sources),	    UNIT_BOTH(many_clients),
		UNIT_BOTH(type_of_service),	    UNIT_BOTH(kept_source),
		cmocka_unit_test(no_bad_checksums),
	};

	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
