/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/community_id.h"

/* From the baseline of the specification (seed 0). */
static const struct {
	uint8_t proto;
	const char *src, *dst, *id;
} vectors[] = {
	{ 6, "128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg=" },
	{ 17, "192.168.1.52:54585", "8.8.8.8:53", "1:d/FP5EW3wiY1vCndhwleRRKHowQ=" },
	{ 6, "10.0.0.1:10", "10.0.0.2:11569", "1:SXBGMX1lBOwhhoDrZynfROxnhnM=" },
	{ 6, "[2001:470:e5bf:dead:4957:2174:e82c:4887]:63943", "[2607:f8b0:400c:c03::1a]:25",
	  "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=" },
	{ 6, "[fe80::200:86ff:fe05:80da]:1022", "[fe80::260:97ff:fe07:69ea]:22",
	  "1:gS2aYcRwGJWe7UratL8/84dclq4=" },
	{ 132, "192.168.170.8:7", "192.168.170.56:7", "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=" },
	{ 46, "10.1.24.4:0", "10.1.12.1:0", "1:/nQI4Rh/TtY3mf0R2gJFBkVlgS4=" },
};

static void test_vectors(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		struct addr src, dst;
		char id[COMMUNITY_ID_CAP];

		assert_int_equal(addr_parse(vectors[i].src, &src), 0);
		assert_int_equal(addr_parse(vectors[i].dst, &dst), 0);
		community_id(id, &src, &dst, vectors[i].proto);
		assert_string_equal(id, vectors[i].id);
		community_id(id, &dst, &src, vectors[i].proto);
		assert_string_equal(id, vectors[i].id);
	}
}

/* Same address at both ends: the ports decide the order. */
static void test_order(void **state)
{
	char forth[COMMUNITY_ID_CAP], back[COMMUNITY_ID_CAP];
	struct addr a, b;

	assert_int_equal(addr_parse("[2001:db8::1]:1000", &a), 0);
	assert_int_equal(addr_parse("[2001:db8::1]:2000", &b), 0);
	community_id(forth, &a, &b, 6);
	community_id(back, &b, &a, 6);
	assert_string_equal(forth, back);
	community_id(back, &b, &a, 17);
	assert_string_not_equal(forth, back);
}

static void test_unknown(void **state)
{
	char id[COMMUNITY_ID_CAP];
	struct addr a = { 0 }, v4, v6;

	community_id(id, &a, &a, 6);
	assert_string_equal(id, "");
	assert_int_equal(addr_parse("192.0.2.1:1", &v4), 0);
	assert_int_equal(addr_parse("[::1]:1", &v6), 0);
	community_id(id, &v4, &v6, 6);
	assert_string_equal(id, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
