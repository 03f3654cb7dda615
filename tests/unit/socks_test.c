/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "socks_split.h"

#define BYTES(text) ((struct span)INIT(text))
#define INIT(text) { (const uint8_t *)(text), sizeof(text) - 1 }

static struct addr addr_of(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void test_methods(void **state)
{
	struct socks_methods m;

	assert_int_equal(split_check(&socks_methods_split, BYTES("\5\1\0"), 1, &m), CODEC_DONE);
	assert_true(m.none && !m.password && m.bytes == 3);
	assert_int_equal(split_check(&socks_methods_split, BYTES("\5\3\2\1\0\5\1"), 1, &m),
			 CODEC_DONE);
	assert_true(m.none && m.password && m.bytes == 5);
	assert_int_equal(split_check(&socks_methods_split, BYTES("\5\1\1"), 1, &m), CODEC_DONE);
	assert_false(m.none || m.password);
	assert_int_equal(split_check(&socks_methods_split, BYTES("\5\2\0"), 1, &m), CODEC_MORE);
	assert_int_equal(split_check(&socks_methods_split, BYTES("\5\0"), 1, &m), CODEC_BAD);
	assert_int_equal(split_check(&socks_methods_split, BYTES("\4\1"), 1, &m), CODEC_OTHER);
}

static void test_login(void **state)
{
	struct socks_login l;

	assert_int_equal(split_check(&socks_login_split, BYTES("\1\3ann\6secret!"), 1, &l),
			 CODEC_DONE);
	assert_true(span_eq_str(l.user, "ann") && span_eq_str(l.password, "secret"));
	assert_int_equal(l.bytes, 12);
	/* a NUL is a byte like any other: it does not end the password */
	assert_int_equal(split_check(&socks_login_split, BYTES("\1\3ann\10secret\0x"), 1, &l),
			 CODEC_DONE);
	assert_int_equal(l.password.len, 8);
	assert_int_equal(split_check(&socks_login_split, BYTES("\1\3ann\6secre"), 1, &l), CODEC_MORE);
	assert_int_equal(split_check(&socks_login_split, BYTES("\1\0\1x"), 1, &l), CODEC_BAD);
	assert_int_equal(split_check(&socks_login_split, BYTES("\1\1x\0"), 1, &l), CODEC_BAD);
	assert_int_equal(split_check(&socks_login_split, BYTES("\5\1x\1y"), 1, &l), CODEC_BAD);
}

static void test_request(void **state)
{
	static const struct {
		struct span in;
		const char *address, *name;
		size_t bytes;
	} good[] = {
		{ INIT("\5\1\0\1\12\1\2\3\0\120GET"), "10.1.2.3:80", "", 10 },
		{ INIT("\5\1\0\4\375\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1\273"), "[fd00::1]:443", "", 22 },
		{ INIT("\5\1\0\4\0\0\0\0\0\0\0\0\0\0\377\377\12\1\2\3\0\120"), "10.1.2.3:80", "", 22 },
		{ INIT("\5\1\0\3\13Example.Org\1\273tail"), NULL, "example.org", 18 },
		{ INIT("\5\1\0\3\14example.org.\1\273"), NULL, "example.org", 19 },
		{ INIT("\5\1\0\3\1a\1\273"), NULL, "a", 8 },
		{ INIT("\5\1\0\3\10""10.1.2.3\0\120"), "10.1.2.3:80", "", 15 },
		{ INIT("\5\1\0\3\7""fd00::1\1\273"), "[fd00::1]:443", "", 14 },
	};
	static const struct {
		struct span in;
		enum socks_status status;
	} bad[] = {
		{ INIT("\4\1\0\1\12\1\2\3\0\120"), SOCKS_FAILED },
		{ INIT("\5\1\1\1\12\1\2\3\0\120"), SOCKS_FAILED },
		{ INIT("\5\1\0\2\12\1\2\3\0\120"), SOCKS_BAD_ADDRESS_TYPE },
		{ INIT("\5\1\0\3\0\0\120"), SOCKS_HOST_UNREACHABLE },
		{ INIT("\5\1\0\3\3a\0b\0\120"), SOCKS_HOST_UNREACHABLE }, /* not cut at the NUL */
		{ INIT("\5\1\0\3\3a b\0\120"), SOCKS_HOST_UNREACHABLE },
	};
	struct socks_request req;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct addr a = good[i].address ? addr_of(good[i].address)
						: (struct addr){ .port = 443 };

		assert_int_equal(split_check(&socks5_request_split, good[i].in, 1, &req),
				 CODEC_DONE);
		assert_true(addr_eq(&req.address, &a));
		assert_string_equal(req.name, good[i].name);
		assert_int_equal(req.bytes, good[i].bytes);
		assert_int_equal(req.command, SOCKS_CONNECT);
		assert_int_equal(req.version, 5);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(split_check(&socks5_request_split, bad[i].in, 1, &req), CODEC_BAD);
		assert_int_equal(req.status, bad[i].status);
	}
}

/* Names of every length that a length byte can say. */
static void test_name_lengths(void **state)
{
	uint8_t in[4 + 1 + 255 + 2];

	for (size_t n = 1; n <= 255; n++) {
		struct socks_request req;
		enum codec_result r;
		bool dotted = n % 64 == 0; /* it would end in a dot, which is not counted */

		memcpy(in, "\5\1\0\3", 4);
		in[4] = (uint8_t)n;
		for (size_t i = 0; i < n; i++)
			in[5 + i] = i % 64 == 63 ? '.' : 'a';
		in[5 + n] = 0;
		in[6 + n] = 80;
		r = split_check(&socks5_request_split, span_of(in, 7 + n), 1, &req);
		if (n > 254 || (n == 254 && !dotted)) { /* 253 characters is the most of a name */
			assert_int_equal(r, CODEC_BAD);
			continue;
		}
		assert_int_equal(r, CODEC_DONE);
		assert_int_equal(strlen(req.name), n - dotted);
		assert_int_equal(req.address.port, 80);
	}
}

static void test_version4(void **state)
{
	struct addr a = addr_of("10.1.2.3:80");
	char user[300] = "\4\1\0\120\12\1\2\3";
	struct socks_request req;

	assert_int_equal(split_check(&socks4_request_split,
				     BYTES("\4\2\0\120\12\1\2\3ann\0tail"), 1, &req), CODEC_DONE);
	assert_true(addr_eq(&req.address, &a) && !*req.name && span_eq_str(req.user, "ann"));
	assert_int_equal(req.command, SOCKS_BIND);
	assert_int_equal(req.bytes, 12);
	assert_int_equal(split_check(&socks4_request_split,
				     BYTES("\4\1\0\120\0\0\0\1\0WWW.example.org\0tail"), 1, &req),
			 CODEC_DONE);
	assert_string_equal(req.name, "www.example.org");
	assert_true(!req.address.family && req.address.port == 80 && req.bytes == 25);
	/* 0.0.0.0 is an address, not the mark of 4A */
	assert_int_equal(split_check(&socks4_request_split, BYTES("\4\1\0\120\0\0\0\0\0"), 1, &req),
			 CODEC_DONE);
	assert_int_equal(req.address.family, 4);
	assert_int_equal(split_check(&socks4_request_split, BYTES("\4\1\0\120\0\0\0\1\0\0"), 1,
				     &req), CODEC_BAD);
	assert_int_equal(split_check(&socks4_request_split, BYTES("\5\1"), 1, &req), CODEC_OTHER);
	memset(user + 8, 'u', 256);
	assert_int_equal(split_check(&socks4_request_split, span_of(user, 8 + 255), 1, &req),
			 CODEC_MORE);
	assert_int_equal(split_check(&socks4_request_split, span_of(user, 8 + 256), 1, &req),
			 CODEC_BAD);
	user[8 + 255] = '\0';
	assert_int_equal(split_check(&socks4_request_split, span_of(user, 8 + 256), 1, &req),
			 CODEC_DONE);
}

static void test_replies(void **state)
{
	static const char *const addresses[] = { "10.1.2.3:80", "[fd00::1]:65535" };
	struct addr none = { 0 }, a;
	uint8_t out[SOCKS_REPLY_MAX_BYTES];
	struct socks_reply reply;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		a = addr_of(addresses[i]);
		n = socks5_reply_write(out, SOCKS_REFUSED, &a);
		assert_int_equal(split_check(&socks5_reply_split, span_of(out, n), 1, &reply),
				 CODEC_DONE);
		assert_true(reply.status == SOCKS_REFUSED && addr_eq(&reply.bound, &a));
	}
	assert_int_equal(socks5_reply_write(out, SOCKS_OK, &none), 10);
	assert_memory_equal(out, "\5\0\0\1\0\0\0\0\0\0", 10);
	assert_int_equal(socks4_reply_write(out, SOCKS4_GRANTED, &(struct addr){ 0 }), 8);
	assert_memory_equal(out, "\0\132\0\0\0\0\0\0", 8);
	a = addr_of("10.1.2.3:80");
	assert_int_equal(socks4_reply_write(out, SOCKS4_REJECTED, &a), 8);
	assert_memory_equal(out, "\0\133\0\120\12\1\2\3", 8);
	assert_int_equal(split_check(&socks5_reply_split, BYTES("\5\0\0\3\4name\0\1x"), 1, &reply),
			 CODEC_DONE);
	assert_true(!reply.bound.family && reply.bytes == 11);
	assert_int_equal(split_check(&socks5_reply_split, BYTES("\5\0\0\7"), 1, &reply), CODEC_BAD);
	assert_int_equal(split_check(&socks5_reply_split, BYTES("\0\132"), 1, &reply), CODEC_BAD);
}

static void test_datagrams(void **state)
{
	struct addr v4 = addr_of("10.1.2.3:53"), v6 = addr_of("[fd00::1]:53");
	uint8_t out[SOCKS_UDP_HEADER_MAX_BYTES];
	struct socks_datagram d;
	size_t n;

	n = socks_datagram_write(out, &v4);
	assert_int_equal(n, 10);
	assert_int_equal(socks_datagram_parse(span_of(out, n), &d), CODEC_DONE);
	assert_true(addr_eq(&d.address, &v4) && d.bytes == n && !d.fragment);
	n = socks_datagram_write(out, &v6);
	assert_int_equal(n, 22);
	assert_int_equal(socks_datagram_parse(span_of(out, n), &d), CODEC_DONE);
	assert_true(addr_eq(&d.address, &v6));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(socks_datagram_parse(span_of(out, i), &d), CODEC_BAD);
	assert_int_equal(socks_datagram_parse(BYTES("\0\0\201\3\4host\0\65data"), &d), CODEC_DONE);
	assert_string_equal(d.name, "host");
	assert_true(d.fragment == 0x81 && d.bytes == 11 && d.address.port == 53);
	assert_int_equal(socks_datagram_parse(BYTES("\0\1\0\1\12\1\2\3\0\65"), &d), CODEC_BAD);
	assert_int_equal(socks_datagram_parse(BYTES("\0\0\0\3\3a\0b\0\65"), &d), CODEC_BAD);
}

static void test_request_write(void **state)
{
	struct addr a = addr_of("[fd00::1]:443");
	uint8_t out[SOCKS_UDP_HEADER_MAX_BYTES];
	char name[257];

	assert_int_equal(socks5_request_write(out, SOCKS_CONNECT, &a, NULL), 22);
	assert_int_equal(socks5_request_write(out, SOCKS_BIND, &a, "host"), 11);
	assert_memory_equal(out, "\5\2\0\3\4host\1\273", 11);
	memset(name, 'a', 256);
	name[256] = '\0';
	assert_int_equal(socks5_request_write(out, SOCKS_CONNECT, &a, name), -EINVAL);
	name[255] = '\0';
	assert_int_equal(socks5_request_write(out, SOCKS_CONNECT, &a, name), 262);
	assert_int_equal(socks5_request_write(out, SOCKS_CONNECT, &a, ""), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_methods),	    cmocka_unit_test(test_login),
		cmocka_unit_test(test_request),	    cmocka_unit_test(test_name_lengths),
		cmocka_unit_test(test_version4),    cmocka_unit_test(test_replies),
		cmocka_unit_test(test_datagrams),   cmocka_unit_test(test_request_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
