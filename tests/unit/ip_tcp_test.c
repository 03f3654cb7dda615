/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ip_tcp_split.h"

#define V4 "\x45\x00\x00\x3c\x1c\x46\x40\x00\x40\x06\x00\x00\x0a\x4d\x01\x02\x0a\x4d\x02\x02"
#define V4_OPTIONS                                                                                 \
	"\x46\x00\x00\x40\x1c\x46\x00\x00\x40\x06\x00\x00\x0a\x4d\x01\x02\x0a\x4d\x02\x02\x94\x04\0\0"
#define V6 "\x60\x00\x00\x00\x00\x28\x06\x40"
#define V6_ADDRS                                                                                   \
	"\xfd\x77\x00\x01\0\0\0\0\0\0\0\0\0\0\0\x02"                                               \
	"\xfd\x77\x00\x02\0\0\0\0\0\0\0\0\0\0\0\x03"
#define SYN                                                                                        \
	"\x07\xd0\x1b\x58\xfe\xdc\xba\x98\x00\x00\x00\x00\xa0\x02\xfa\xf0\x00\x00\x00\x00"         \
	"\x02\x04\x05\xb4\x04\x02\x08\x0a\x00\x01\x02\x03\x00\x00\x00\x00\x01\x03\x03\x07"
#define SYN_PLAIN "\x07\xd0\x1b\x58\x00\x00\x00\x01\x00\x00\x00\x00\x50\x02\xfa\xf0\x00\x00\x00\x00"
#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static enum codec_result check(const uint8_t *data, size_t len, struct ip_tcp *ret)
{
	return split_check(&ip_tcp_split, span_of(data, len), 1, ret);
}

static struct addr at(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void test_v4(void **state)
{
	struct addr from = at("10.77.1.2:2000"), to = at("10.77.2.2:7000");
	struct ip_tcp t;

	(void)state;
	assert_int_equal(check(BYTES(V4 SYN "more"), &t), CODEC_DONE);
	assert_true(addr_eq(&t.from, &from) && addr_eq(&t.to, &to));
	assert_int_equal(t.seq, 0xfedcba98);
	assert_int_equal(t.flags, IP_TCP_SYN);
	assert_int_equal(t.head_len, 60);
	assert_int_equal(check(BYTES(V4_OPTIONS SYN), &t), CODEC_DONE);
	assert_true(addr_eq(&t.from, &from));
	assert_int_equal(t.head_len, 64);
}

static void test_v6(void **state)
{
	struct addr from = at("[fd77:1::2]:2000"), to = at("[fd77:2::3]:7000");
	struct ip_tcp t;

	(void)state;
	assert_int_equal(check(BYTES(V6 V6_ADDRS SYN), &t), CODEC_DONE);
	assert_true(addr_eq(&t.from, &from) && addr_eq(&t.to, &to));
	assert_int_equal(t.head_len, 80);
}

static void test_v6_extensions(void **state)
{
	struct ip_tcp t;

	(void)state;
	assert_int_equal(check(BYTES("\x60\0\0\0\x00\x2c\x00\x40" V6_ADDRS
				     "\x3c\x00\x01\x04\0\0\0\0"			/* hop by hop */
				     "\x06\x01\x01\x0c\0\0\0\0\0\0\0\0\0\0\0\0" /* destination */
				     SYN_PLAIN),
			       &t),
			 CODEC_DONE);
	assert_int_equal(t.head_len, 40 + 8 + 16 + 20);
	assert_int_equal(t.seq, 1);
}

static void test_not_ours(void **state)
{
	static const struct {
		const uint8_t *data;
		size_t len;
		enum codec_result result;
	} cases[] = {
		{ BYTES(""), CODEC_MORE },
		{ BYTES("\x25"), CODEC_OTHER },
		{ BYTES("\x45\0\0\x3c\0\0\x40\0\x40\x11" V4 SYN), CODEC_OTHER }, /* UDP */
		{ BYTES("\x45\0\0\x3c\0\0\x20\0\x40\x06" V4 SYN), CODEC_OTHER }, /* a fragment */
		{ BYTES("\x45\0\0\x3c\0\0\0\x08\x40\x06" V4 SYN), CODEC_OTHER },
		{ BYTES("\x60\0\0\0\0\x28\x2c\x40" V6_ADDRS SYN), CODEC_OTHER },
		{ BYTES("\x44\0\0\x3c\0\0\x40\0\x40\x06" V4 SYN), CODEC_BAD }, /* no header */
		{ BYTES("\x45\0\0\x14\0\0\x40\0\x40\x06\0\0\1\2\3\4\5\6\7\x8" SYN), CODEC_BAD },
		{ BYTES("\x60\0\0\0\0\x13\x06\x40" V6_ADDRS SYN), CODEC_BAD }, /* no room for it */
		{ BYTES("\x60\0\0\0\0\x28\x00\x40" V6_ADDRS "\x06\xff" SYN), CODEC_BAD },
	};
	struct ip_tcp t;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(check(cases[i].data, cases[i].len, &t), cases[i].result);
}

static void test_tcp_header_that_cannot_be(void **state)
{
	uint8_t packet[60];
	struct ip_tcp t;

	(void)state;
	memcpy(packet, V4 SYN, sizeof(packet));
	packet[32] = 0x40;
	assert_int_equal(check(packet, sizeof(packet), &t), CODEC_BAD);
	packet[32] = 0xb0; /* longer than the packet */
	assert_int_equal(check(packet, sizeof(packet), &t), CODEC_BAD);
}

static void test_refusal(void **state)
{
	static const struct {
		const uint8_t *data;
		size_t len, answer_len;
	} cases[] = {
		{ BYTES(V4 SYN), 40 },
		{ BYTES(V6 V6_ADDRS SYN), 60 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t packet[IP_TCP_REFUSAL_CAP];
		struct ip_tcp syn, rst;
		size_t n;

		assert_int_equal(check(cases[i].data, cases[i].len, &syn), CODEC_DONE);
		n = ip_tcp_refuse(&syn, packet);
		assert_int_equal(n, cases[i].answer_len);
		assert_true(ip_tcp_answer_ok(&syn, packet, n));
		assert_int_equal(check(packet, n, &rst), CODEC_DONE);
		assert_int_equal(rst.flags, IP_TCP_RST | IP_TCP_ACK);
		assert_int_equal(rst.seq, 0);
		assert_true(addr_eq(&rst.from, &syn.to) && addr_eq(&rst.to, &syn.from));
		/* the acknowledgement: one behind the SYN, or the client does not believe it */
		assert_memory_equal(packet + n - 12, "\xfe\xdc\xba\x99", 4);
	}
}

static void test_unreachable(void **state)
{
	static const struct {
		const uint8_t *data;
		size_t len;
		enum ip_unreachable why;
		uint8_t type, code;
	} cases[] = {
		{ BYTES(V4 SYN), IP_UNREACHABLE_HOST, 3, 1 },
		{ BYTES(V4 SYN), IP_UNREACHABLE_NETWORK, 3, 0 },
		{ BYTES(V4_OPTIONS SYN), IP_UNREACHABLE_PROHIBITED, 3, 13 },
		{ BYTES(V6 V6_ADDRS SYN), IP_UNREACHABLE_HOST, 1, 3 },
		{ BYTES(V6 V6_ADDRS SYN), IP_UNREACHABLE_NETWORK, 1, 0 },
		{ BYTES(V6 V6_ADDRS SYN), IP_UNREACHABLE_PROHIBITED, 1, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t packet[IP_TCP_UNREACHABLE_CAP];
		struct ip_tcp syn;
		size_t n, ip_len;

		assert_int_equal(check(cases[i].data, cases[i].len, &syn), CODEC_DONE);
		ip_len = syn.from.family == 4 ? 20 : 40;
		n = ip_tcp_unreachable(&syn, span_of(cases[i].data, cases[i].len), cases[i].why,
				       packet);
		assert_int_equal(n, ip_len + 8 + syn.head_len);
		assert_true(ip_tcp_answer_ok(&syn, packet, n));
		assert_int_equal(packet[ip_len], cases[i].type);
		assert_int_equal(packet[ip_len + 1], cases[i].code);
		assert_memory_equal(packet + ip_len + 8, cases[i].data, syn.head_len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v4),
		cmocka_unit_test(test_v6),
		cmocka_unit_test(test_v6_extensions),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_tcp_header_that_cannot_be),
		cmocka_unit_test(test_refusal),
		cmocka_unit_test(test_unreachable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
