/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams that leave together arrive as what they are: each of its size, in order. */
#include <netinet/udp.h>

#include "datagram_fixture.h"

static uint8_t text[65536], got[65536];

static struct udp_packet packet_of(const struct addr *to, size_t at, size_t bytes)
{
	return (struct udp_packet){ .to = *to, .payload = span_of(text + at, bytes) };
}

/* Everything, in as many calls as it takes; returns how many. */
static unsigned int send_all(int fd, const struct udp_packet *packets, unsigned int n)
{
	const struct udp_packet *list[UDP_BATCH];
	unsigned int calls = 0;

	for (unsigned int i = 0; i < n; i++)
		list[i] = &packets[i];
	for (unsigned int at = 0; at < n; calls++) {
		int sent = udp_send_batch(fd, list + at, n - at);

		assert_true(sent > 0);
		at += (unsigned int)sent;
	}
	return calls;
}

static void expect_bytes(int fd, const uint8_t *bytes, size_t len_bytes)
{
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), len_bytes);
	assert_memory_equal(got, bytes, len_bytes);
}

/* What the kernel has kept together, on a socket that wants trains. */
static void expect_train(int fd, size_t bytes, size_t segment)
{
	struct iovec iov = { got, sizeof(got) };
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room,
			    .msg_controllen = sizeof(control.room) };
	int size = 0;

	assert_int_equal(recvmsg(fd, &m, MSG_DONTWAIT), bytes);
	if (CMSG_FIRSTHDR(&m))
		memcpy(&size, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(size));
	assert_int_equal(size, segment);
}

/* 100 100 100 | 100 100 40 | 100 | 0 | 100 to elsewhere | 100 of another TOS */
static const size_t sizes[] = { 100, 100, 100, 100, 100, 40, 100, 0, 100, 100 };

static unsigned int mixture(const struct addr *to, const struct addr *other,
			    struct udp_packet packets[static UDP_BATCH])
{
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); at += sizes[i++])
		packets[i] = packet_of(i == 8 ? other : to, at, sizes[i]);
	packets[9].tos = 0x2e << 2;
	return ARRAY_SIZE(sizes);
}

static void singles_stay_singles(int f)
{
	struct addr to = addr_of(families[f].server, 9000), own = addr_of(families[f].client, 0);
	struct addr other = addr_of(families[f].server, 9001);
	int server = server_at(families[f].server, 9000), second, fd = udp_relay(&own, MARK);
	struct udp_packet packets[UDP_BATCH];
	size_t at = 0;

	second = server_at(families[f].server, 9001);
	assert_true(fd >= 0);
	assert_int_equal(send_all(fd, packets, mixture(&to, &other, packets)), 1);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); at += sizes[i++])
		expect_bytes(i == 8 ? second : server, text + at, sizes[i]);
	close(second);
	close(server);
	close(fd);
}

static void same_sizes_travel_together(int f)
{
	struct addr to = addr_of(families[f].server, 9000), own = addr_of(families[f].client, 0);
	struct addr other = addr_of(families[f].server, 9001);
	int server = server_at(families[f].server, 9000), fd = udp_relay(&own, MARK);
	struct udp_packet packets[UDP_BATCH];
	const int one = 1;

	assert_int_equal(setsockopt(server, SOL_UDP, UDP_GRO, &one, sizeof(one)), 0);
	send_all(fd, packets, mixture(&to, &other, packets));
	expect_train(server, 540, 100);
	expect_train(server, 100, 0);
	expect_train(server, 0, 0);
	expect_train(server, 100, 0);
	close(server);
	close(fd);
}

/* Heads are part of their datagrams; a train and what follows it are one. */
static void heads_and_trains(int f)
{
	struct addr to = addr_of(families[f].server, 9000), own = addr_of(families[f].client, 0);
	int server = server_at(families[f].server, 9000), fd = udp_relay(&own, MARK);
	struct udp_packet packets[UDP_BATCH];
	const int one = 1;

	assert_int_equal(setsockopt(server, SOL_UDP, UDP_GRO, &one, sizeof(one)), 0);
	packets[0] = packet_of(&to, 0, 1000);
	packets[0].segment_bytes = 250;
	packets[1] = packet_of(&to, 1010, 240);
	packets[1].head = span_of(text + 1000, 10);
	packets[2] = packet_of(&to, 1250, 600);
	packets[2].segment_bytes = 250;
	packets[3] = packet_of(&to, 0, 100); /* that train has ended */
	send_all(fd, packets, 4);
	expect_train(server, 1850, 250);
	assert_memory_equal(got, text, 1850);
	expect_train(server, 100, 0);
	close(server);
	close(fd);
}

/* No more datagrams and bytes than the kernel takes. */
static void long_trains(int f)
{
	struct addr to = addr_of(families[f].server, 9000), own = addr_of(families[f].client, 0);
	int server = server_at(families[f].server, 9000), fd = udp_relay(&own, MARK);
	struct udp_packet packets[UDP_BATCH];

	for (unsigned int i = 0; i < UDP_BATCH; i++) {
		packets[i] = packet_of(&to, i * 4000, 4000);
		packets[i].segment_bytes = 100;
	}
	assert_int_equal(send_all(fd, packets, UDP_BATCH), 1);
	for (unsigned int i = 0; i < UDP_BATCH * 40; i++)
		expect_bytes(server, text + (size_t)i * 100, 100);
	close(server);
	close(fd);
}

/* The link takes 1500 bytes: what only just does not fit goes one by one, in fragments. */
static void too_wide_together(int f)
{
	struct addr to = addr_of(families[f].server, 9000), own = addr_of(families[f].client, 0);
	int server = server_at(families[f].server, 9000), fd = udp_relay(&own, MARK);
	struct udp_packet packets[UDP_BATCH];

	for (unsigned int i = 0; i < 3; i++)
		packets[i] = packet_of(&to, i * 1472, 1472);
	send_all(fd, packets, 3);
	for (unsigned int i = 0; i < 3; i++)
		expect_bytes(server, text + (size_t)i * 1472, 1472);
	close(server);
	close(fd);
}

BOTH(singles_stay_singles)
BOTH(same_sizes_travel_together)
BOTH(heads_and_trains)
BOTH(long_trains)
BOTH(too_wide_together)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT_BOTH(singles_stay_singles), UNIT_BOTH(same_sizes_travel_together),
		UNIT_BOTH(heads_and_trains),	 UNIT_BOTH(long_trains),
		UNIT_BOTH(too_wide_together),
	};

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 2654435761U >> 13);
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
