/* SPDX-License-Identifier: Apache-2.0 */
/* What does not pass or passes no more: refusals, limits, idle times, and what is left behind. */
#include "core/datagram_table.h"
#include "datagram_fixture.h"

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

static void refused_by_server(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { .idle.other_ms = 40 };
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

/* RFC 4787 REQ-10: no ICMP error ends a mapping. */
static void refused_and_there_again(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { .idle.refused_ms = 1 };
	struct addr at = addr_of(families[f].server, 9000), up;
	int client, server;

	env_start(&e, &c);
	client = client_of(f, 4000);
	server = server_at(families[f].server, 9000);
	send_text(client, "one", &at);
	expect_text(&e, server, "one", &up);
	close(server);
	send_text(client, "two", &at);
	connect_to(client, &at);
	expect_error(&e, client, ECONNREFUSED);
	expect_nothing(&e, client);
	server = server_at(families[f].server, 9000);
	send_text(server, "back", &up);
	expect_text_from(&e, client, "back", &at);
	close(client);
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

/* A flood of what is refused does not become one of ICMP. */
static void icmp_limit(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { 0 };
	struct addr rejected = addr_of(families[f].server, PORT_REJECT);
	uint64_t begin_ms;
	int client;

	env_start(&e, &c);
	begin_ms = loop_now_ms(&e.loop);
	client = client_of(f, 4000);
	for (int i = 0; i < 6000; i++) {
		send_text(client, "x", &rejected);
		if (i % 200 == 199)
			turns_for_ms(&e, 0);
	}
	turns_for_ms(&e, 10);
	assert_true(datagram_port_stats(e.port)->icmp_sent >= 1000);
	assert_true(datagram_port_stats(e.port)->icmp_sent <=
		    1000 * (2 + (loop_now_ms(&e.loop) - begin_ms) / 1000));
	close(client);
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

/* At a limit the session unused for longest makes room: of the same ip, or of all. */
static void eviction(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { .limits = { .sessions = 3, .sessions_per_client = 2 },
				     .idle = { .evict_ms = 30 } };
	struct addr target = addr_of(families[f].server, 9000);
	struct addr elsewhere = addr_of(families[f].other, 4000);
	int server, clients[3], others[2];

	env_start(&e, &c);
	server = server_at(families[f].server, 9000);
	for (int i = 0; i < 2; i++) {
		clients[i] = client_of(f, (uint16_t)(4000 + i));
		send_text(clients[i], "in", &target);
		expect_text(&e, server, "in", NULL);
		turns_for_ms(&e, 5);
	}
	send_text(clients[0], "again", &target);
	expect_text(&e, server, "again", NULL);
	turns_for_ms(&e, 60);
	clients[2] = client_of(f, 4002); /* the third of this ip: 4001 goes */
	send_text(clients[2], "in", &target);
	expect_text(&e, server, "in", NULL);
	assert_int_equal(expect_report(&e, WHY_EVICTED)->client.port, 4001);
	for (int i = 0; i < 2; i++, elsewhere.port++) { /* the fourth of all: 4000 goes */
		others[i] = bound_socket(&elsewhere, 0);
		send_text(others[i], "in", &target);
		expect_text(&e, server, "in", NULL);
		turns_for_ms(&e, 60);
	}
	assert_int_equal(expect_report(&e, WHY_EVICTED)->client.port, 4000);
	assert_int_equal(datagram_port_stats(e.port)->sessions, 3);
	assert_int_equal(datagram_port_stats(e.port)->evicted, 2);
	assert_int_equal(datagram_port_stats(e.port)->refused, 0);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	close(others[0]);
	close(others[1]);
	close(server);
	env_stop(&e);
}

/* Who still waits for an answer keeps its place longer than who has got one. */
static void eviction_of_answered(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { .limits = { .sessions = 2 },
				     .idle = { .evict_ms = 60000, .evict_answered_ms = 30 } };
	struct addr target = addr_of(families[f].server, 9000), up;
	int server, clients[4];

	env_start(&e, &c);
	server = server_at(families[f].server, 9000);
	for (int i = 0; i < 4; i++)
		clients[i] = client_of(f, (uint16_t)(4000 + i));
	send_text(clients[0], "in", &target); /* and is never answered */
	expect_text(&e, server, "in", NULL);
	send_text(clients[1], "in", &target);
	expect_text(&e, server, "in", &up);
	send_text(server, "answer", &up);
	expect_text(&e, clients[1], "answer", NULL);
	turns_for_ms(&e, 60);
	send_text(clients[2], "in", &target); /* 4000 has waited longer, 4001 goes */
	expect_text(&e, server, "in", NULL);
	assert_int_equal(expect_report(&e, WHY_EVICTED)->client.port, 4001);
	connect_to(clients[3], &target); /* both that are left wait */
	turns_for_ms(&e, 60);
	assert_int_equal(send(clients[3], "out", 3, 0), 3);
	expect_error(&e, clients[3], ECONNREFUSED);
	expect_report(&e, WHY_LIMIT);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	close(server);
	env_stop(&e);
}

/* The same among the servers of one client. */
static void eviction_of_entries(int f)
{
	struct env e = { 0 };
	struct datagram_config c = { .limits = { .entries_per_session = 2 },
				     .idle = { .evict_ms = 60000, .evict_answered_ms = 30 } };
	struct addr target[4], up, again;
	int client, servers[4];

	env_start(&e, &c);
	client = client_of(f, 4000);
	for (int i = 0; i < 4; i++) {
		target[i] = addr_of(families[f].server, (uint16_t)(9000 + i));
		servers[i] = server_at(families[f].server, target[i].port);
	}
	send_text(client, "in", &target[0]); /* and is never answered */
	expect_text(&e, servers[0], "in", &up);
	send_text(client, "in", &target[1]);
	expect_text(&e, servers[1], "in", NULL);
	send_text(servers[1], "answer", &up);
	expect_text(&e, client, "answer", NULL);
	turns_for_ms(&e, 60);
	send_text(client, "in", &target[2]);
	expect_text(&e, servers[2], "in", &again);
	assert_true(addr_eq(&up, &again)); /* still at one address */
	assert_int_equal(expect_report(&e, WHY_EVICTED)->target.port, 9001);
	turns_for_ms(&e, 60);
	connect_to(client, &target[3]); /* both that are left wait */
	assert_int_equal(send(client, "out", 3, 0), 3);
	expect_error(&e, client, ECONNREFUSED);
	assert_int_equal(expect_report(&e, WHY_LIMIT)->target.port, 9003);
	for (int i = 0; i < 4; i++)
		close(servers[i]);
	close(client);
	env_stop(&e);
}

/* Many destinations of many sessions: each keeps two, further ones are counted for the ip and in
 * all, and make room in their own session. */
static void entries_of_all(int f)
{
	struct datagram_limits limits = { .sessions = 8, .sessions_per_client = 4,
					  .entries_per_session = 10 };
	const struct datagram_times idle = { .evict_ms = 1000, .evict_answered_ms = 100 };
	struct datagram_session *s[8];
	struct datagram_entry *e;
	struct datagram_table t;

	datagram_table_init(&t, &limits);
	for (int i = 0; i < 8; i++) {
		struct addr client = addr_of(families[f].client, (uint16_t)(4000 + i));

		client.ip[3] += i / 4;
		assert_int_equal(datagram_session_new(&t, &client, NULL, &s[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		for (uint16_t port = 1; port <= 11; port++) {
			struct addr to = addr_of(families[f].server, port);
			uint32_t before = s[i]->n_entries;
			int r = datagram_entry_new(&t, s[i], &to, &e);

			if (!r)
				datagram_entry_used(&t, e, 1, false);
			else
				assert_int_equal(r, -ENOSPC);
			assert_int_equal(s[i]->n_entries, before + !r);
			e = datagram_entry_victim(&t, s[i], 2000, &idle);
			assert_true(!e || e->session == s[i]);
			assert_true(!r || e); /* who was refused has one that could go */
		}
	for (int i = 0; i < 8; i++) /* 4 * 4 + 10 of an ip, 4 * 8 + 10 in all; two at least */
		assert_int_equal(s[i]->n_entries,
				 ((const uint32_t[]){ 10, 10, 6, 2, 10, 4, 2, 2 })[i]);
	for (int i = 0; i < 8; i++) {
		while (s[i]->n_entries)
			datagram_entry_free(&t, list_entry(s[i]->entries[0].next,
							   struct datagram_entry, link));
		datagram_session_free(&t, s[i]);
	}
	datagram_table_done(&t);
}

static void idle_times(int f)
{
	struct env e = { 0 };
	struct datagram_config c = {
		.idle = { .dns_ms = 1000, .dns_answered_ms = 20, .quic_ms = 300, .other_ms = 4000 }
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
	turns_for_ms(&e, 30); /* one is outstanding */
	assert_int_equal(e.n_reports, 0);
	send_text(at_dns, "b", &up);
	expect_text_from(&e, client, "b", &dns);
	assert_int_equal(expect_report(&e, WHY_FINISHED)->target.port, 53);
	for (int i = 0; i < 350; i++) { /* what talks is not idle */
		send_text(client, "q", &quic);
		expect_text(&e, at_quic, "q", NULL);
		turns_for_ms(&e, 1);
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

BOTH(refused_by_server)
BOTH(refused_and_there_again)
BOTH(refused_by_policy)
BOTH(icmp_limit)
BOTH(limits)
BOTH(eviction)
BOTH(eviction_of_answered)
BOTH(eviction_of_entries)
BOTH(entries_of_all)
BOTH(idle_times)
BOTH(out_of_descriptors)
BOTH(path_mtu)
BOTH(loop_refused)
BOTH(ten_thousand_in_turn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT_BOTH(refused_by_server), UNIT_BOTH(refused_by_policy),    UNIT_BOTH(limits),
		UNIT_BOTH(refused_and_there_again),
		UNIT_BOTH(icmp_limit),
		UNIT_BOTH(eviction),
		UNIT_BOTH(eviction_of_answered),
		UNIT_BOTH(eviction_of_entries),
		UNIT_BOTH(entries_of_all),
		UNIT_BOTH(idle_times),	      UNIT_BOTH(out_of_descriptors),   UNIT_BOTH(path_mtu),
		UNIT_BOTH(loop_refused),      UNIT_BOTH(ten_thousand_in_turn),
	};

	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
