/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_DOCTOR_FIXTURE_H
#define TESTS_UNIT_DOCTOR_FIXTURE_H

/*
 * A host made of text, on which all is well; each test breaks one thing of it, and expects to
 * hear of that and of nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/config.h"
#include "engine/doctor/chains.h"
#include "engine/doctor/doctor.h"
#include "engine/doctor/host.h"

static const char yaml[] =
	"listeners:\n"
	" - { name: routed, mode: tproxy, address: [\"127.0.0.1:50080\", \"[::1]:50080\"] }\n"
	" - { name: local, mode: redirect, address: [\"127.0.0.1:51080\", \"[::1]:51080\"] }\n"
	"rules:\n"
	" - { name: all, action: accept, source: keep }\n";

#define CHAIN(table, name, hook, prio, policy)                                                     \
	"{\"chain\":{\"family\":\"inet\",\"table\":\"" table "\",\"name\":\"" name                 \
	"\",\"hook\":\"" hook "\",\"prio\":" prio ",\"policy\":\"" policy "\"}}"
#define RULE(table, chain, handle, expr)                                                           \
	"{\"rule\":{\"family\":\"inet\",\"table\":\"" table "\",\"chain\":\"" chain                \
	"\",\"handle\":" handle ",\"expr\":[" expr "]}}"
#define MATCH(op, left, right)                                                                     \
	"{\"match\":{\"op\":\"" op "\",\"left\":" left ",\"right\":" right "}}"
#define META(key) "{\"meta\":{\"key\":\"" key "\"}}"
#define FLAGS "{\"&\":[{\"payload\":{\"protocol\":\"tcp\",\"field\":\"flags\"}},[\"syn\",\"ack\"]]}"
#define SOCKET MATCH("==", "{\"socket\":{\"key\":\"transparent\"}}", "1")
#define SET_MARK(value) "{\"mangle\":{\"key\":" META("mark") ",\"value\":" value "}}"
#define TO(family, addr) "{\"tproxy\":{\"family\":\"" family "\"," addr "\"port\":50080}}"
#define DPORT MATCH("==", "{\"payload\":{\"protocol\":\"tcp\",\"field\":\"dport\"}}", "80")
#define ACCEPT "{\"accept\":null}"
#define RETURN "{\"return\":null}"
#define DROP "{\"drop\":null}"

/* The parts of a good set of rules, for tests to leave out or to change. */
#define EXEMPT RULE("l", "pre", "1", MATCH("==", META("mark"), "27760") "," RETURN)
#define RETURNS                                                                                    \
	RULE("l", "pre", "2", MATCH("!=", FLAGS, "\"syn\"") "," SOCKET "," SET_MARK("1") "," ACCEPT)
#define ERRORS                                                                                     \
	RULE("l", "pre", "3",                                                                      \
	     MATCH("==", META("l4proto"),                                                          \
		   "{\"set\":[\"icmp\",\"ipv6-icmp\"]}") "," SOCKET "," SET_MARK("1") "," ACCEPT)
#define TPROXY4                                                                                    \
	RULE("l", "pre", "4",                                                                      \
	     DPORT "," TO("ip", "\"addr\":\"127.0.0.1\",") "," SET_MARK("1") "," ACCEPT)
#define TPROXY6                                                                                    \
	RULE("l", "pre", "5", DPORT "," TO("ip6", "\"addr\":\"::1\",") "," SET_MARK("1") "," ACCEPT)
#define BLOCK RULE("l", "pre", "6", DPORT "," DROP)
#define REDIRECT                                                                                   \
	RULE("l", "out", "7", MATCH("==", META("mark"), "27760") "," RETURN)                       \
	"," RULE("l", "out", "8", DPORT ",{\"redirect\":{\"port\":51080}}")
#define CHAINS                                                                                     \
	CHAIN("l", "pre", "prerouting", "-150", "accept")                                          \
	"," CHAIN("l", "out", "output", "-100", "accept")
#define GOOD CHAINS "," EXEMPT "," RETURNS "," ERRORS "," TPROXY4 "," TPROXY6 "," BLOCK "," REDIRECT

static const char nft_text[] =
	"table inet other {\n"
	"\tchain pre {\n"
	"\t\tudp dport 1 accept # handle 4\n"
	"\t}\n"
	"}\n"
	"table inet l { # handle 1\n"
	"\tchain pre { # handle 9\n"
	"\t\tsocket transparent 1 meta mark set 0x1 accept # handle 2\n"
	"\t\ttcp dport 80 tproxy ip to :50080 meta mark set 0x1 accept # handle 4\n"
	"\t\ttcp dport 80 comment \" # handle 7\" accept # handle 5\n"
	"\t}\n"
	"}\n";

struct bed {
	char folder[64];
	struct host host;
	struct config *config;
	struct findings findings;
};

static inline void put(struct bed *b, const char *path, const char *text)
{
	char whole[512];
	FILE *f;

	for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		snprintf(whole, sizeof(whole), "%s%.*s", b->folder, (int)(p - path), path);
		mkdir(whole, 0700);
	}
	snprintf(whole, sizeof(whole), "%s%s", b->folder, path);
	f = fopen(whole, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static inline json_t *json_of(const char *text)
{
	json_error_t error;
	json_t *j = json_loads(text, 0, &error);

	if (!j)
		fail_msg("%s in %s", error.text, text);
	return j;
}

static inline void set_json(json_t **where, const char *text)
{
	json_decref(*where);
	*where = json_of(text);
}

static inline void set_nft(struct bed *b, const char *rules)
{
	char *text;

	assert_true(asprintf(&text, "{\"nftables\":[%s]}", rules) > 0);
	set_json(&b->host.nft, text);
	free(text);
}

static inline void set_config(struct bed *b, const char *text)
{
	char path[128];

	config_free(b->config);
	b->config = NULL;
	put(b, "/limpid.yaml", text);
	snprintf(path, sizeof(path), "%s/limpid.yaml", b->folder);
	assert_int_equal(config_load(path, stderr, &b->config), 0);
}

static const char rule_ours[] =
	"[{\"priority\":0,\"src\":\"all\",\"table\":\"local\"},"
	"{\"priority\":100,\"src\":\"all\",\"fwmark\":\"0x1\",\"table\":\"100\"},"
	"{\"priority\":32766,\"src\":\"all\",\"table\":\"main\"}]";
static const char route_ours[] =
	"[{\"dst\":\"default\",\"gateway\":\"192.0.2.1\",\"dev\":\"eth0\"},"
	"{\"type\":\"local\",\"dst\":\"default\",\"dev\":\"lo\",\"table\":\"100\"}]";

static inline int setup(void **state)
{
	struct bed *b = NEW0(struct bed);

	snprintf(b->folder, sizeof(b->folder), "/tmp/doctor-test-XXXXXX");
	assert_non_null(mkdtemp(b->folder));
	b->host.root = b->folder;
	b->host.has_nft = b->host.has_ip = true;
	b->host.nft_text = (char *)nft_text;
	set_json(&b->host.links, "[{\"ifname\":\"lo\",\"flags\":[\"UP\"]},"
				 "{\"ifname\":\"eth0\",\"flags\":[\"BROADCAST\",\"UP\"]},"
				 "{\"ifname\":\"off0\",\"flags\":[]},"
				 "{\"ifname\":\"br0\",\"flags\":[\"UP\"],"
				 "\"linkinfo\":{\"info_kind\":\"bridge\"}}]");
	for (int f = 0; f < HOST_FAMILIES; f++) {
		set_json(&b->host.rules[f], rule_ours);
		set_json(&b->host.routes[f], route_ours);
	}
	set_nft(b, GOOD);
	put(b, "/proc/self/status", "Name:\tlimpid\nCapEff:\t0000003fffffffff\n");
	put(b, "/proc/self/limits",
	    "Limit                     Soft Limit           Hard Limit           Units\n"
	    "Max open files            1024                 524288               files\n");
	put(b, "/proc/sys/net/ipv4/ip_forward", "1\n");
	put(b, "/proc/sys/net/ipv4/tcp_early_demux", "0\n");
	put(b, "/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
	put(b, "/proc/sys/net/ipv4/ip_local_reserved_ports", "50000-50100,51080\n");
	put(b, "/proc/sys/net/ipv6/conf/all/forwarding", "1\n");
	put(b, "/proc/sys/net/netfilter/nf_conntrack_count", "5\n");
	put(b, "/proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
	set_config(b, yaml);
	*state = b;
	return 0;
}

static inline int teardown(void **state)
{
	struct bed *b = *state;
	char command[128];

	findings_done(&b->findings);
	config_free(b->config);
	json_decref(b->host.links);
	json_decref(b->host.nft);
	for (int f = 0; f < HOST_FAMILIES; f++) {
		json_decref(b->host.rules[f]);
		json_decref(b->host.routes[f]);
	}
	snprintf(command, sizeof(command), "rm -r %s", b->folder);
	assert_int_equal(system(command), 0);
	free(b);
	return 0;
}

static inline void examine(struct bed *b)
{
	findings_done(&b->findings);
	assert_int_equal(doctor_examine(&b->host, b->config, "F", &b->findings), 0);
}

static inline void expect_nothing(struct bed *b)
{
	examine(b);
	if (findings_worst(&b->findings) != FINDING_OK) {
		findings_print(&b->findings, false, stderr);
		fail_msg("nothing was to be found");
	}
}

/* Exactly this is wrong, once for each of @n; the cure contains @cure. */
static inline void expect_n(struct bed *b, const char *check, enum finding_status status, size_t n,
			    const char *cure)
{
	size_t found = 0;

	examine(b);
	for (size_t i = 0; i < b->findings.n; i++) {
		const struct finding *f = &b->findings.all[i];

		if (f->status == FINDING_OK)
			continue;
		if (strcmp(f->check, check) || f->status != status || !strstr(f->cure, cure)) {
			findings_print(&b->findings, false, stderr);
			fail_msg("expected %s %s '%s'", check, finding_status_name(status), cure);
		}
		found++;
	}
	assert_int_equal(found, n);
}

static inline void expect(struct bed *b, const char *check, enum finding_status status,
			  const char *cure)
{
	expect_n(b, check, status, 1, cure);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
