/* SPDX-License-Identifier: Apache-2.0 */
/* From a configuration to the commands: what they say, and what cannot be said. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/config.h"
#include "engine/firewall_plan.h"
#include "engine/firewall_state.h"

#define TPROXY "{ name: a, mode: tproxy, address: ['127.0.0.1:50080', '[::1]:50081'] }"
#define UDP "{ name: u, mode: tproxy, address: '0.0.0.0:50090', network: [tcp, udp] }"
#define REDIRECT "{ name: r, mode: redirect, address: ['0.0.0.0:51080', '[fd00::1]:51080'] }"
#define DNS "{ name: d, mode: dns, address: '0.0.0.0:51053' }"
#define FIXED "{ name: f, mode: fixed, address: '127.0.0.1:1', to: '192.0.2.1:2' }"
#define ONLY(listener) "listeners: [" listener "]\n"
#define WITH(listener, firewall) ONLY(listener) "firewall: { " firewall " }\n"
#define KEEP "rules: [ { name: x, action: accept, source: keep } ]\n"

static char path[] = "/tmp/limpid-firewall-XXXXXX";

/* A configuration; what is wrong with it goes to @ret_said, to be freed. */
static struct config *load(const char *text, char **ret_said)
{
	_cleanup_fclose_ FILE *f = fopen(path, "we");
	struct config *c = NULL;
	size_t len;
	FILE *errors = open_memstream(ret_said, &len);

	assert_non_null(f);
	fputs(text, f);
	fflush(f);
	if (config_load(path, errors, &c) < 0)
		c = NULL;
	fclose(errors);
	return c;
}

/* The plan as a script, or the error; to be freed. */
static char *plan(const char *text, bool v6)
{
	struct firewall_host host = {
		.v6 = v6, .demux = (char *)"1", .ports = (char *)"7,9-10", .cgroups = "unified/"
	};
	struct firewall_place place;
	struct firewall_steps steps;
	char *said, *script, error[512];
	struct config *c = load(text, &said);
	size_t len;
	FILE *f = open_memstream(&script, &len);

	assert_string_equal(said, "");
	free(said);
	if (firewall_plan(c, &host, &place, &steps, error, sizeof(error)) < 0)
		fputs(error, f);
	else
		firewall_steps_print(&steps, f);
	fclose(f);
	firewall_steps_done(&steps);
	config_free(c);
	return script;
}

static const struct {
	const char *text;
	const char *there[4]; /* in the plan, in this order */
	const char *not_there;
} plans[] = {
	{ ONLY(TPROXY),
	  { "echo '7,9-10,50080-50081' >/proc/sys/net/ipv4/ip_local_reserved_ports",
	    "ip -6 rule add pref 101 fwmark 0x6c71/0xffff lookup 27760",
	    "tproxy ip to 127.0.0.1:50080", "tproxy ip6 to [::1]:50081" },
	  "chain output" },
	{ ONLY(REDIRECT),
	  { "chain nat-output",
	    "meta nfproto ipv4 meta l4proto tcp fib daddr type unicast redirect "
	    "to :51080",
	    "dnat ip6 to [fd00::1]:51080" },
	  "tproxy" },
	{ ONLY(REDIRECT) KEEP, { "socket transparent 1 socket mark 0x6c70", "nat-output" }, "udp" },
	{ ONLY(FIXED), { "table inet limpid {" }, "chain prerouting" },
	{ ONLY(UDP),
	  { "meta l4proto { tcp, udp } tproxy ip to 127.0.0.1:50090", "drop",
	    "meta l4proto udp socket transparent 1" },
	  "tproxy ip6" },
	{ WITH(TPROXY, "when-down: pass"), { "tproxy ip6" }, "drop" },
	{ ONLY(DNS), { "# was '7,9-10'", "table inet limpid {" }, "51053\n" },
	{ WITH(DNS ", " UDP,
	       "intercept: [ { listener: d }, { listener: u, traffic: local, port: 5 }, "
	       "{ listener: d, port: 54, network: tcp } ]"),
	  { "meta nfproto ipv4 meta l4proto { tcp, udp } th dport { 53 } fib daddr type unicast "
	    "accept",
	    "th dport { 5 } fib daddr type unicast ct mark set",
	    "th dport { 53 } fib daddr type unicast redirect to :51053",
	    "th dport { 5 } fib daddr type unicast accept\n"
	    "\t\tmeta nfproto ipv4 meta l4proto tcp th dport { 54 } fib daddr type unicast "
	    "redirect to :51053" },
	  "dport { 54 } fib daddr type unicast accept" },
	{ WITH(TPROXY, "table: mine, priority: '-50', mark: 0x100, divert-mark: 0x200, mask: 0xf00,"
		       "route-table: 5, rule-priority: 9"),
	  { "ip -4 rule add pref 9 iif lo fwmark 0x200/0xf00 goto 11",
	    "ip -4 rule add pref 10 fwmark 0x200/0xf00 lookup 5", "table inet mine {",
	    "hook prerouting priority -50" },
	  "6c7" },
	{ WITH(TPROXY ", " UDP, "intercept: [ { listener: u, traffic: local, user: [0, 5] }, "
				"{ listener: a, traffic: [inbound, local], port: [1, 5-9] } ]"),
	  { "pref 101 fwmark 0x6c73/0xffff",
	    "th dport { 1, 5-9 } fib daddr type local goto listener-a",
	    "meta skuid { 0, 5 } fib daddr type unicast ct mark set ct mark & 0xffff0000 | 0x6c73",
	    "iifname \"lo\" meta mark & 0xffff == 0x6c72 goto listener-a" },
	  "0x6c74" },
	{ WITH(REDIRECT, "intercept: [ { listener: r, cgroup: [/a/b, c] } ]"),
	  { "socket cgroupv2 level 2 \"unified/a/b\"", "socket cgroupv2 level 1 \"unified/c\"" },
	  "skuid" },
	{ WITH(TPROXY,
	       "exempt: [ { source: [10.0.0.0/8, 'fd00::/8'], destination: 192.0.2.0-192.0.2.9,"
	       " interface: [eth0, 'wl*'] } ]"),
	  { "10.0.0.0-10.255.255.255", "192.0.2.0-192.0.2.9",
	    "iifname { \"eth0\", \"wl*\" } ip saddr @nets0-v4 ip daddr @nets1-v4",
	    "oifname { \"eth0\", \"wl*\" } ip saddr @nets0-v4" },
	  "ip6 saddr @nets0" },
	{ WITH(TPROXY, "mark: 0x60000"), { "is nothing within firewall.mask" }, "\n" },
	{ WITH(REDIRECT ", { mode: redirect, address: '127.0.0.1:7' }",
	       "intercept: [ { listener: redirect-2, traffic: inbound } ]"),
	  { "listen on 0.0.0.0" },
	  "\n" },
};

static void test_plans(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
		_cleanup_free_ char *script = plan(plans[i].text, true);
		const char *at = script;

		for (size_t k = 0; k < ARRAY_SIZE(plans[i].there) && plans[i].there[k]; k++) {
			at = strstr(at, plans[i].there[k]);
			if (!at)
				fail_msg("'%s' is not in\n%s", plans[i].there[k], script);
		}
		if (strstr(script, plans[i].not_there))
			fail_msg("'%s' is in\n%s", plans[i].not_there, script);
	}
}

/* Nothing of IPv6 where there is none. */
static void test_without_v6(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
		_cleanup_free_ char *script = plan(plans[i].text, false);

		assert_null(strstr(script, "ip6"));
		assert_null(strstr(script, "ip -6"));
		assert_null(strstr(script, "ipv6"));
		assert_null(strstr(script, "icmpv6"));
	}
}

static const struct {
	const char *text, *said;
} wrong[] = {
	{ WITH(FIXED, "intercept: [ { listener: f } ]"), "mode fixed does not learn" },
	{ WITH(TPROXY, "intercept: [ { listener: b } ]"), "there is no such listener" },
	{ WITH(TPROXY, "intercept: [ { traffic: local } ]"), "this key is missing: 'listener'" },
	{ WITH(TPROXY, "intercept: [ { listener: a, network: udp } ]"),
	  "listener 'a' does not listen for this" },
	{ WITH(TPROXY, "intercept: [ { listener: a, traffic: routed, user: root } ]"),
	  "user and cgroup are known only of what this host sends" },
	{ WITH(TPROXY, "intercept: [ { listener: a, user: no such user } ]"), "has no such user" },
	{ WITH(TPROXY, "intercept: [ { listener: a, user: 4294967295 } ]"), "has no such user" },
	{ WITH(TPROXY, "intercept: [ { listener: a, interface: 'a\"b' } ]"),
	  "no name of an interface" },
	{ WITH(TPROXY, "intercept: [ { listener: a, interface: 'a*b' } ]"),
	  "no name of an interface" },
	{ WITH(TPROXY, "intercept: [ { listener: a, interface: sixteen-letters0 } ]"),
	  "no name of an interface" },
	{ WITH(TPROXY, "intercept: [ { listener: a, cgroup: 'a\" accept' } ]"),
	  "no path of a cgroup" },
	{ WITH(TPROXY, "intercept: [ { listener: a, cgroup: ../a } ]"), "no path of a cgroup" },
	{ WITH(TPROXY, "exempt: [ {} ]"), "nothing would be intercepted" },
	{ WITH(TPROXY, "exempt: [ { source: example.net } ]"), "a name in a set of networks" },
	{ WITH(TPROXY, "table: 1a"), "nft wants a letter in front" },
	{ WITH(TPROXY, "priority: '-300'"), "no priority of a chain" },
	{ WITH(TPROXY, "priority: mangle"), "no priority of a chain" },
	{ WITH(TPROXY, "divert-mark: 0x10000"), "bits outside of firewall.mask" },
	{ WITH(TPROXY, "divert-mark: 0x6c70"), "are the same" },
	{ WITH(TPROXY, "route-table: 253"), "one of the kernel's own tables" },
	{ WITH(TPROXY, "route-table: 254"), "one of the kernel's own tables" },
	{ WITH(TPROXY, "route-table: 255"), "one of the kernel's own tables" },
};

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_free_ char *said = NULL;

		assert_null(load(wrong[i].text, &said));
		if (!strstr(said, wrong[i].said))
			fail_msg("%s\nled to\n%s", wrong[i].text, said);
	}
}

static void test_state_comes_back(void **state)
{
	struct firewall_state s = {
		.cookie = UINT64_MAX,
		.owner = 7,
		.place = { "t-1.x", 0x200, 0xf00, 3, 5, 9, true, false },
		.values = { [FIREWALL_VALUE_PORTS] = { .was = (char *)"",
						       .set = (char *)"1,2-3" } },
	};
	struct firewall_state back;

	(void)state;
	assert_int_equal(firewall_state_write(path, &s), 0);
	assert_int_equal(firewall_state_read(path, &back), 0);
	assert_true(back.cookie == s.cookie && back.owner == s.owner);
	assert_string_equal(back.place.table, "t-1.x");
	assert_int_equal(back.place.mask, 0xf00);
	assert_int_equal(back.place.marks, 3);
	assert_int_equal(back.place.rule_priority, 9);
	assert_true(back.place.v6);
	assert_null(back.values[FIREWALL_VALUE_DEMUX].set);
	assert_string_equal(back.values[FIREWALL_VALUE_PORTS].was, "");
	assert_string_equal(back.values[FIREWALL_VALUE_PORTS].set, "1,2-3");
	firewall_state_done(&back);
}

/* However much of it is there, it is whole or damaged. */
static void test_state_that_is_cut(void **state)
{
	struct firewall_state s = { .place = { .table = "t" } }, back;
	_cleanup_fclose_ FILE *f = NULL;
	long len;

	(void)state;
	assert_int_equal(firewall_state_write(path, &s), 0);
	f = fopen(path, "re");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	for (len = ftell(f) - 1; len >= 0; len--) {
		assert_int_equal(truncate(path, len), 0);
		assert_int_equal(firewall_state_read(path, &back), -EBADMSG);
	}
	unlink(path);
	assert_int_equal(firewall_state_read(path, &back), -ENOENT);
}

static int file_make(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

static int file_remove(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plans),
		cmocka_unit_test(test_without_v6),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_state_comes_back),
		cmocka_unit_test(test_state_that_is_cut),
	};

	return cmocka_run_group_tests(tests, file_make, file_remove);
}
