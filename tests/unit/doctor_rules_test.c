/* SPDX-License-Identifier: Apache-2.0 */
/* limpid doctor: what is asked of the firewall's rules. */
#include "doctor_fixture.h"

static void test_rules_missing(void **state)
{
	struct bed *b = *state;

	set_nft(b, CHAINS "," EXEMPT "," RETURNS "," ERRORS "," TPROXY4 "," BLOCK "," REDIRECT);
	expect(b, "rules", FINDING_WARN, "limpid firewall up --config F");
	set_nft(b, "");
	expect_n(b, "rules", FINDING_WARN, 4, "limpid firewall up --config F");
	b->host.nft_said = (char *)"Operation not permitted";
	expect(b, "programs", FINDING_WARN, "as root");
	b->host.nft_said = NULL;
}

#define TPROXY4_ANY RULE("l", "pre", "4", DPORT "," TO("ip", "") "," SET_MARK("1") "," ACCEPT)

static void test_rule_to_another_address(void **state)
{
	struct bed *b = *state;

	set_nft(b, CHAINS "," EXEMPT "," RETURNS "," ERRORS "," TPROXY4_ANY "," TPROXY6 "," BLOCK
			  "," REDIRECT);
	expect(b, "rules", FINDING_FAIL,
	       "nft 'replace rule inet l pre handle 4 tcp dport 80 tproxy ip to 127.0.0.1:50080 "
	       "meta mark set 0x1 accept'");
}

static void test_loop(void **state)
{
	struct bed *b = *state;

	set_nft(b, CHAINS "," RETURNS "," ERRORS "," TPROXY4 "," TPROXY6 "," BLOCK "," REDIRECT);
	expect(b, "loop", FINDING_WARN, "nft insert rule inet l pre meta mark 0x6c70 return");
#define OUT(more) RULE("l", "out", "8", more DPORT ",{\"redirect\":{\"port\":51080}}")
#define INPUT_ONLY CHAINS "," EXEMPT "," RETURNS "," ERRORS "," TPROXY4 "," TPROXY6 "," BLOCK ","
	set_nft(b, INPUT_ONLY OUT(""));
	expect(b, "loop", FINDING_FAIL, "nft insert rule inet l out meta mark 0x6c70 return");
	set_nft(b, INPUT_ONLY OUT(MATCH("!=", META("skuid"), "0") ","));
	expect(b, "loop", FINDING_WARN, "nft insert rule inet l out meta mark 0x6c70 return");
	set_nft(b, INPUT_ONLY OUT(MATCH("!=", META("mark"), "27760") ","));
	expect_nothing(b);
	/* The exemption of another family, or one that comes too late, is none. */
	set_nft(b,
		INPUT_ONLY RULE(
			"l", "out", "7",
			MATCH("==", META("nfproto"), "\"ipv6\"") "," MATCH(
				"==", META("mark"),
				"27760") "," RETURN) "," RULE("l", "out", "8",
							      MATCH("==", META("nfproto"),
								    "\"ipv4\"") "," DPORT
										",{\"redirect\":{\"port\":51080}}"));
	examine(b);
	assert_int_equal(findings_worst(&b->findings), FINDING_FAIL);
	set_nft(b, INPUT_ONLY OUT("") "," RULE("l", "out", "9",
					       MATCH("==", META("mark"), "27760") "," RETURN));
	expect(b, "loop", FINDING_FAIL, "");
	/* One that only counts is none. */
	set_nft(b, INPUT_ONLY RULE("l", "out", "7",
				   MATCH("==", META("mark"),
					 "27760") ",{\"counter\":null}") "," OUT(""));
	expect(b, "loop", FINDING_FAIL, "");
}

static void test_return_path(void **state)
{
	struct bed *b = *state;

	set_nft(b, CHAINS "," EXEMPT "," ERRORS "," TPROXY4 "," TPROXY6 "," BLOCK "," REDIRECT);
	expect_n(b, "return-path", FINDING_FAIL, 2,
		 "tcp flags & (syn | ack) != syn socket transparent 1 meta mark set 0x1 accept'");
	set_nft(b, CHAINS "," EXEMPT "," RETURNS "," TPROXY4 "," TPROXY6 "," BLOCK "," REDIRECT);
	expect_n(b, "return-path", FINDING_WARN, 2, "socket transparent 1 meta mark set 0x1");
	/* Nobody keeps a source: not needed. */
	set_config(b, "listeners:\n"
		      " - { mode: tproxy, address: \"127.0.0.1:50080\" }\n"
		      "rules: [ { name: a, action: accept } ]\n");
	expect_nothing(b);
}

static void test_socket_before_syn(void **state)
{
	struct bed *b = *state;

	set_nft(b, CHAINS "," EXEMPT
			  "," RULE("l", "pre", "2",
				   SOCKET "," SET_MARK("1") "," ACCEPT) "," TPROXY4 "," TPROXY6
									"," BLOCK "," REDIRECT);
	expect(b, "socket-match", FINDING_WARN,
	       "nft 'replace rule inet l pre handle 2 tcp flags & (syn | ack) != syn "
	       "socket transparent 1 meta mark set 0x1 accept'");
}

/* A rule for nothing but SYN sees it as well. */
static void test_socket_for_syn(void **state)
{
	struct bed *b = *state;

	set_nft(b, GOOD
		"," RULE("l", "pre", "2",
			 MATCH("==", FLAGS, "\"syn\"") "," SOCKET "," SET_MARK("1") "," ACCEPT));
	expect(b, "socket-match", FINDING_WARN, "");
}

static void test_when_down(void **state)
{
	struct bed *b = *state;

	set_nft(b, CHAINS "," EXEMPT "," RETURNS "," ERRORS "," TPROXY4 "," TPROXY6 "," REDIRECT
			  "," RULE("l", "pre", "9", DPORT "," ACCEPT));
	expect(b, "when-down", FINDING_WARN,
	       "nft 'add rule inet l pre handle 4 tcp dport 80 drop'");
}

static void test_tproxy_without_mark(void **state)
{
	struct bed *b = *state;

	set_nft(b, CHAINS
		"," EXEMPT
		"," RULE("l", "pre", "4",
			 DPORT "," TO("ip", "\"addr\":\"127.0.0.1\",") "," ACCEPT) "," TPROXY6
										   "," BLOCK
										   "," REDIRECT);
	set_config(b, "listeners:\n"
		      " - { mode: tproxy, address: [\"127.0.0.1:50080\", \"[::1]:50080\"] }\n"
		      "rules: [ { name: a, action: accept } ]\n");
	expect(b, "policy-routing", FINDING_FAIL, "meta mark set 0x1 accept'");
}

#define OTHER(hook, prio) CHAIN("other", "c", hook, prio, "accept")
#define MASKED(op, value, mask) MATCH(op, "{\"&\":[" META("mark") "," mask "]}", value)

static void test_marks(void **state)
{
	struct bed *b = *state;

	/* 0x4000, as some take it for their own; our 0x6c70 has that bit. */
	set_nft(b, GOOD "," OTHER("postrouting", "100") "," RULE(
			   "other", "c", "1",
			   MASKED("==", "16384", "16384") ",{\"masquerade\":null}"));
	expect(b, "marks", FINDING_WARN, "set firewall.mark in F to 0x8000000");
	set_nft(b, GOOD "," OTHER("postrouting", "100") "," RULE(
			   "other", "c", "1",
			   MASKED("==", "32768", "32768") ",{\"masquerade\":null}"));
	expect_nothing(b);
	/* The whole mark is taken from somewhere else. */
	set_nft(b, GOOD "," OTHER("prerouting", "0") "," RULE(
			   "other", "c", "1", SET_MARK("{\"ct\":{\"key\":\"mark\"}}")));
	expect(b, "marks", FINDING_WARN, "");
	/* Bits that are not ours, set as a polite one does. */
	set_config(b, "listeners:\n - { mode: redirect, address: [\"127.0.0.1:51080\"] }\n"
		      "rules: [ { name: a, action: accept } ]\n");
	set_nft(b, GOOD "," OTHER("prerouting", "0") "," RULE(
			   "other", "c", "1",
			   SET_MARK("{\"|\":[{\"&\":[" META("mark") ",4278255615]},262144]}")));
	expect_nothing(b);
}

static void test_input(void **state)
{
	struct bed *b = *state;

#define IN(policy) CHAIN("f", "in", "input", "0", policy)
	set_nft(b, GOOD "," IN("drop"));
	expect(b, "input", FINDING_WARN,
	       "nft 'insert rule inet f in meta mark & 0xffffffff == 0x1 accept'");
	set_nft(b, GOOD "," IN("accept") "," RULE("f", "in", "1", DPORT "," ACCEPT) "," RULE(
			   "f", "in", "2", "{\"reject\":null}"));
	expect(b, "input", FINDING_WARN, "insert rule inet f in");
	set_nft(b, GOOD "," IN("drop") "," RULE("f", "in", "1",
						MASKED("==", "1", "4294967295") "," ACCEPT));
	expect_nothing(b);
	set_nft(b, GOOD "," IN("accept") "," RULE("f", "in", "1", DPORT "," DROP));
	expect_nothing(b);
}

/* What iptables-save says: the document's TPROXY rules, and REDIRECT with the user as guard. */
static void test_iptables(void **state)
{
	static const char saved[] =
		"# Generated by iptables-save\n"
		"*mangle\n"
		":PREROUTING ACCEPT [0:0]\n"
		":DIVERT - [0:0]\n"
		"-A PREROUTING -i e0 -p tcp -m socket -m comment --comment \"a ! --syn b\" -j DIVERT\n"
		"-A PREROUTING -p tcp -m tcp --dport 80 -m comment --comment \"a -j DROP b\" "
		"-j TPROXY --on-port 50080 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1\n"
		"-A DIVERT -j MARK --set-xmark 0x1/0xffffffff\n"
		"-A DIVERT -j ACCEPT\n"
		"COMMIT\n"
		"*nat\n"
		":OUTPUT ACCEPT [0:0]\n"
		"-A OUTPUT -p tcp -m tcp --dport 80 -m owner ! --uid-owner 0 -j REDIRECT "
		"--to-ports 51080\n"
		"COMMIT\n";
	static const struct {
		const char *check, *cure;
	} expected[] = {
		{ "rules", "iptables -t mangle -R PREROUTING 2 -p tcp -m tcp --dport 80 -m comment "
			   "--comment \"a -j DROP b\" -j TPROXY --on-port 50080 --on-ip 127.0.0.1 "
			   "--tproxy-mark 0x1/0x1" },
		{ "policy-routing", "ip rule add fwmark 0x1/0x1 lookup 27760" },
		{ "socket-match",
		  "iptables -t mangle -R PREROUTING 1 -p tcp ! --syn -i e0 -m socket "
		  "-m comment --comment \"a ! --syn b\" -j DIVERT" },
		/* They move the rules that others name by number. */
		{ "loop", "iptables -t mangle -I PREROUTING -m mark --mark 0x6c70 -j RETURN" },
		{ "loop", "iptables -t nat -I OUTPUT -m mark --mark 0x6c70 -j RETURN" },
		{ "return-path", "iptables -t mangle -I PREROUTING -p icmp -m socket --transparent "
				 "-j MARK --set-xmark 0x1/0x1" },
	};
	struct bed *b = *state;
	size_t n = 0;

	set_config(b, "listeners:\n"
		      " - { name: routed, mode: tproxy, address: \"127.0.0.1:50080\" }\n"
		      " - { name: local, mode: redirect, address: \"127.0.0.1:51080\" }\n"
		      "rules: [ { name: all, action: accept, source: keep } ]\n");
	set_nft(b, "");
	set_json(&b->host.rules[HOST_V4], "[]");
	b->host.iptables[HOST_V4] = (char *)saved;
	examine(b);
	for (size_t i = 0; i < b->findings.n; i++) {
		const struct finding *f = &b->findings.all[i];

		if (f->status == FINDING_OK)
			continue;
		if (n == ARRAY_SIZE(expected))
			fail_msg("one too many: %s: %s", f->check, f->text);
		assert_string_equal(f->check, expected[n].check);
		assert_string_equal(f->cure, expected[n].cure);
		n++;
	}
	assert_int_equal(n, ARRAY_SIZE(expected));
}

static void test_iptables_after_the_cures(void **state)
{
	static const char saved[] =
		"*mangle\n"
		":PREROUTING ACCEPT [0:0]\n"
		":DIVERT - [0:0]\n"
		"-A PREROUTING -m mark --mark 0x6c70 -j RETURN\n"
		"-A PREROUTING -p icmp -m socket --transparent -j MARK --set-xmark 0x1/0x1\n"
		"-A PREROUTING -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m socket -j DIVERT\n"
		"-A PREROUTING -p tcp -m tcp --dport 80 -j TPROXY --on-port 50080 "
		"--on-ip 127.0.0.1 --tproxy-mark 0x1/0x1\n"
		"-A DIVERT -j MARK --set-xmark 0x1/0xffffffff\n"
		"-A DIVERT -j ACCEPT\n"
		"COMMIT\n";
	struct bed *b = *state;

	set_config(b, "listeners:\n - { mode: tproxy, address: \"127.0.0.1:50080\" }\n"
		      "rules: [ { name: all, action: accept, source: keep } ]\n");
	set_nft(b, "");
	b->host.legacy[HOST_V4] = (char *)saved;
	expect_nothing(b);
}

static void test_queue(void **state)
{
	struct bed *b = *state;

	set_config(b,
		   "listeners:\n"
		   " - { mode: tproxy, address: \"127.0.0.1:50080\", connect: honest, queue: 7 }\n"
		   "rules: [ { name: all, action: accept } ]\n");
	put(b, "/proc/net/netfilter/nfnetlink_queue", "");
	expect(b, "queue", FINDING_WARN,
	       "iptables -t raw -A PREROUTING -p tcp --syn -j NFQUEUE --queue-num 7");
	set_nft(b, GOOD "," RULE("l", "pre", "20", "{\"queue\":{\"num\":7}}"));
	expect_nothing(b);
	b->host.iptables[HOST_V4] =
		(char *)"*raw\n:PREROUTING ACCEPT [0:0]\n"
			"-A PREROUTING -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j NFQUEUE "
			"--queue-num 7 --queue-bypass\n"
			"*mangle\n:PREROUTING ACCEPT [0:0]\n"
			"-A PREROUTING -i lo -p tcp -m tcp --dport 80 -j TPROXY --on-port 50080 "
			"--on-ip 127.0.0.1 --tproxy-mark 0x1/0x1\n";
	set_nft(b, CHAINS "," EXEMPT);
	examine(b);
	for (size_t i = 0; i < b->findings.n; i++)
		assert_true(strcmp(b->findings.all[i].check, "queue") ||
			    b->findings.all[i].status == FINDING_OK);
	put(b, "/proc/self/status", "CapEff:\t0000000000002000\n");
	examine(b);
	assert_int_equal(findings_worst(&b->findings), FINDING_FAIL);
}

/* A set of rules that jumps in a circle is read to an end. */
static void test_circle(void **state)
{
	struct bed *b = *state;

	set_nft(b, GOOD
		"," CHAIN("l", "a", "", "0", "") "," RULE("l", "a", "20", "{\"jump\":{\"target\":\"a\"}}") "," RULE(
			"l", "pre", "21",
			"{\"jump\":{\"target\":\"a\"}}") "," RULE("l", "pre", "22",
								  "{\"jump\":{\"target\":\"none\"}}"));
	expect_nothing(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rules_missing),
		TEST(test_rule_to_another_address),
		TEST(test_loop),
		TEST(test_return_path),
		TEST(test_socket_before_syn),
		TEST(test_socket_for_syn),
		TEST(test_when_down),
		TEST(test_tproxy_without_mark),
		TEST(test_marks),
		TEST(test_input),
		TEST(test_iptables),
		TEST(test_iptables_after_the_cures),
		TEST(test_queue),
		TEST(test_circle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
