/* SPDX-License-Identifier: Apache-2.0 */
/* The order of RFC 6724, by the examples of its section 10.2 and some of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "dial/destinations.h"

/* "destination<source", best first; source "-": no way. */
struct order {
	const char *what;
	const char *pairs[6];
};

static const struct order orders[] = {
	{ "rule 1: a way before none", { "198.51.100.121<198.51.100.117", "2001:db8:1::1<-" } },
	{ "rule 2: matching scope", { "198.51.100.121<198.51.100.117", "2001:db8:1::1<fe80::1" } },
	{ "rule 2: the same for IPv4",
	  { "2001:db8:1::1<2001:db8:1::2", "198.51.100.121<169.254.13.78" } },
	{ "rule 5: matching label",
	  { "2002:c633:6401::1<2002:c633:6401::2", "2001:db8:1::1<2002:c633:6401::2" } },
	{ "rule 6: IPv6 before IPv4", { "2001:db8:1::1<2001:db8:1::2", "10.1.2.3<10.1.2.4" } },
	{ "rule 6: IPv4 before unique local", { "10.1.2.3<10.1.2.4", "fd00::1<fd00::2" } },
	{ "rule 6: 6to4 behind IPv6",
	  { "2001:db8:1::1<2001:db8:1::2", "2002:c633:6401::1<2002:c633:6401::2" } },
	{ "rule 6: loopback first",
	  { "::1<::1", "2001:db8:1::1<2001:db8:1::2", "10.1.2.3<10.1.2.4" } },
	{ "rule 8: smaller scope", { "fe80::1<fe80::2", "2001:db8:1::1<2001:db8:1::2" } },
	{ "rule 9: longer prefix of IPv6",
	  { "2001:db8:1::1<2001:db8:1::2", "2001:db8:3ffe::1<2001:db8:1::2" } },
	{ "rule 10: IPv4 stays in order",
	  { "192.0.2.9<10.0.0.1", "10.0.0.2<10.0.0.1", "203.0.113.1<10.0.0.1" } },
	{ "rule 9 ends with the subnet",
	  { "2001:db8:1::ff00<2001:db8:1::2", "2001:db8:1::3<2001:db8:1::2" } },
};

static struct destination parse(const char *pair)
{
	struct destination d = { .wanted = true };
	char text[80], *source;

	snprintf(text, sizeof(text), "%s", pair);
	source = strchr(text, '<');
	*source++ = '\0';
	assert_int_equal(addr_parse_ip(text, &d.addr), 0);
	if (strcmp(source, "-"))
		assert_int_equal(addr_parse_ip(source, &d.source), 0);
	return d;
}

static void expect_order(const struct order *o, struct destination *list, size_t n)
{
	char got[ADDR_TEXT_MAX];

	destinations_sort(list, n);
	for (size_t i = 0; i < n; i++) {
		struct destination want = parse(o->pairs[i]);

		if (!addr_ip_eq(&want.addr, &list[i].addr))
			fail_msg("%s: place %zu has %s instead of %s", o->what, i,
				 addr_format_ip(&list[i].addr, got), o->pairs[i]);
	}
}

/* From every rotation of each order, and backwards where none is equal to another. */
static void test_orders(void **state)
{
	(void)state;
	for (size_t o = 0; o < ARRAY_SIZE(orders); o++) {
		bool equals = !strncmp(orders[o].what, "rule 10", 7) ||
			      !strncmp(orders[o].what, "rule 9 ends", 11);
		struct destination list[6];
		size_t n = 0;

		while (n < 6 && orders[o].pairs[n])
			n++;
		for (size_t by = 0; by < (equals ? 1 : n); by++) {
			for (size_t i = 0; i < n; i++)
				list[i] = parse(orders[o].pairs[(i + by) % n]);
			expect_order(&orders[o], list, n);
		}
		for (size_t i = 0; i < n && !equals; i++)
			list[n - 1 - i] = parse(orders[o].pairs[i]);
		expect_order(&orders[o], list, n);
	}
}

static void test_beats_ipv4(void **state)
{
	static const struct {
		const char *pair;
		bool beats;
	} cases[] = {
		{ "2001:db8::1<2001:db8::2", true },	{ "2001:db8::1<-", false },
		{ "fd00::1<fd00::2", false },		{ "::1<::1", true },
		{ "2002:c633:6401::1<2002::1", false }, { "10.0.0.1<10.0.0.2", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct destination d = parse(cases[i].pair);

		if (destination_beats_ipv4(&d) != cases[i].beats)
			fail_msg("%s", cases[i].pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_beats_ipv4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
