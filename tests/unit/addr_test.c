/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/mem.h"

static void test_parse(void **state)
{
	static const struct {
		const char *in, *out, *ip;
	} cases[] = {
		{ "192.0.2.1:80", "192.0.2.1:80", "192.0.2.1" },
		{ "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0" },
		{ "255.255.255.255:65535", "255.255.255.255:65535", "255.255.255.255" },
		{ "[2001:DB8::1]:443", "[2001:db8::1]:443", "2001:db8::1" },
		{ "[fe80::1%lo]:80", "[fe80::1%1]:80", "fe80::1%1" },
		{ "[fe80::1%4294967295]:80", "[fe80::1%4294967295]:80", "fe80::1%4294967295" },
		{ "[::ffff:192.0.2.1]:80", "192.0.2.1:80", "192.0.2.1" },
		{ "[::]:1", "[::]:1", "::" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[ADDR_TEXT_MAX];
		struct addr a, b;

		assert_int_equal(addr_parse(cases[i].in, &a), 0);
		assert_string_equal(addr_format(&a, text), cases[i].out);
		assert_int_equal(addr_parse(text, &b), 0);
		assert_true(addr_eq(&a, &b));
		assert_string_equal(addr_format_ip(&a, text), cases[i].ip);
		assert_int_equal(addr_parse_ip(text, &b), 0);
		assert_true(addr_ip_eq(&a, &b));
		assert_int_equal(b.port, 0);
	}
}

static void test_parse_bad(void **state)
{
	static const char *const cases[] = {
		"",
		":",
		":80",
		"192.0.2.1",
		"192.0.2.1:",
		"192.0.2.1:080",
		"192.0.2.1:65536",
		"192.0.2.1:-1",
		"192.0.2.1:+1",
		"192.0.2.1: 1",
		"192.0.2.1:1 ",
		"192.0.2:80",
		"192.0.2.256:80",
		"192.0.02.1:80",
		"0xc0.0.2.1:80",
		"192.0.2.1.5:80",
		"111111111111111111111:80",
		"::1:80",
		"[::1]",
		"[::1]80",
		"[::1:80",
		"[]:80",
		"[192.0.2.1]:80",
		"[::g]:80",
		"[fe80::1%]:80",
		"[fe80::1%0]:80",
		"[fe80::1%no-such-interface]:80",
		"[fe80::1%4294967296]:80",
		"[::ffff:192.0.2.1%1]:80",
		"localhost:80",
	};
	struct addr a = { .port = 7 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(addr_parse(cases[i], &a), -EINVAL);
	assert_int_equal(addr_parse_ip("192.0.2.1:80", &a), -EINVAL);
	assert_int_equal(addr_parse_ip("[::1]", &a), -EINVAL);
	assert_int_equal(addr_parse_ip("", &a), -EINVAL);
	assert_int_equal(a.port, 7); /* untouched */
}

static void test_unknown(void **state)
{
	char text[ADDR_TEXT_MAX];
	struct addr a = { 0 };

	assert_string_equal(addr_format(&a, text), "-");
	assert_string_equal(addr_format_ip(&a, text), "-");
	assert_false(addr_is_loopback(&a));
	assert_false(addr_is_unspecified(&a));
}

static void test_longest(void **state)
{
	char text[ADDR_TEXT_MAX];
	struct addr a = { .family = 6, .port = 65535, .scope_id = UINT32_MAX };

	memset(a.ip, 0xff, sizeof(a.ip));
	assert_true(strlen(addr_format(&a, text)) < ADDR_TEXT_MAX);
}

static void test_kinds(void **state)
{
	static const struct {
		const char *text;
		bool loopback, unspecified;
	} cases[] = {
		{ "127.0.0.1", true, false },  { "127.255.0.9", true, false },
		{ "128.0.0.1", false, false }, { "0.0.0.0", false, true },
		{ "::1", true, false },	       { "::2", false, false },
		{ "::", false, true },	       { "::ffff:127.0.0.1", true, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct addr a;

		assert_int_equal(addr_parse_ip(cases[i].text, &a), 0);
		assert_int_equal(addr_is_loopback(&a), cases[i].loopback);
		assert_int_equal(addr_is_unspecified(&a), cases[i].unspecified);
	}
}

static void test_equal(void **state)
{
	struct addr a, b;

	assert_int_equal(addr_parse("[fe80::1%1]:80", &a), 0);
	assert_int_equal(addr_parse("[fe80::1%2]:80", &b), 0);
	assert_true(addr_ip_eq(&a, &b));
	assert_false(addr_eq(&a, &b));
	b.scope_id = 1;
	assert_true(addr_eq(&a, &b));
	b.port = 81;
	assert_false(addr_eq(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),	cmocka_unit_test(test_parse_bad),
		cmocka_unit_test(test_unknown), cmocka_unit_test(test_longest),
		cmocka_unit_test(test_kinds),	cmocka_unit_test(test_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
