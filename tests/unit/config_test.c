/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of configurations and of the one line each must lead to.  The files are in a folder
 * under /tmp while the test runs.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/config.h"
#include "engine/yaml.h"

#include "config_bad.h"


static char folder[] = "/tmp/limpid-config-XXXXXX";

static void path_of(const char *name, char dst[static 128])
{
	snprintf(dst, 128, "%s/%s", folder, name);
}

static void file_put(const char *name, const char *bytes, size_t len)
{
	char path[128];
	FILE *f;

	path_of(name, path);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* What loading says, without the folder; "" and a configuration if all is well. */
static char *load(const char *bytes, size_t len, struct config **ret)
{
	char path[128], *said = NULL, *from, *to;
	size_t said_len = 0, folder_len = strlen(folder) + 1;
	FILE *errors = open_memstream(&said, &said_len);
	struct config *c = NULL;
	int r;

	file_put("c", bytes, len);
	path_of("c", path);
	r = config_load(path, errors, &c);
	fclose(errors);
	assert_int_equal(r, said_len ? -EINVAL : 0);
	assert_true(!c == (r < 0));
	if (ret)
		*ret = c;
	else
		config_free(c);
	while ((from = strstr(said, folder))) {
		to = from;
		for (from += folder_len; (*to++ = *from++);)
			;
	}
	return said;
}

static const struct bad top[] = {
	{ "", "c:1:1: nothing is in this file" },
	{ "# no more than this\n", "c:1:1: nothing is in this file" },
	{ "- a\n", "c:1:1: the configuration is not a mapping" },
	{ "a\n", "c:1:1: the configuration is not a mapping: 'a'" },
	{ "rules: []\n", "c:1:1: nothing to listen on: 'listeners'" },
	{ "listeners: []\n", "c:1:12: nothing to listen on: 'listeners'" },
	{ "listeners:\n", "c:1:1: no value: 'listeners'" },
	{ "a: b: c\n", "c:1:5: YAML: " },
	{ ONE "rules: ]\n", "c:2:8: YAML: " },
	{ ONE "log: [\n", "c:3:1: YAML: " },
	{ ONE "---\n" ONE, "c:2:1: a second YAML document begins here" },
	{ ONE "...\n---\n" ONE, "c:3:1: a second YAML document begins here" },
	{ "%YAML 1.2\n---\n" ONE, "c:1:1: YAML directives are not used here" },
	{ ONE "log: { level: \"\xff\" }\n", "c:2:16: this byte is not UTF-8" },
	{ ONE "log: { level: \"\xc0\x80\" }\n", "c:2:16: this byte is not UTF-8" },
	{ ONE "log: { level: \"\x1b[1m\" }\n", "c:2:16: a control character" },
	{ ONE "log: { level: \"\\0\" }\n", "c:2:15: a NUL character is in this word" },
	{ ONE "log: { level: \"\\e[1m\" }\n", "c:2:15: not accepted here: '\\x1b[1m'" },
	{ "a: [[[[[[[[[[[[[[[[[[[[[[[[[[[", "c:1:19: lists and mappings are nested" },
	{ ONE "log: { level: 'a''''b' }\n", "c:2:15: two single quotes in a row" },
	{ ONE "logg: { level: info }\n", "c:2:1: unknown key (perhaps 'log'): 'logg'; accepted: "
					 "listeners, " },
	{ ONE "dns: x\n", "c:2:1: unknown key: 'dns'; accepted: listeners, " },
	{ ONE "log: { level: info, level: info }\n", "c:2:21: this key is there already (line 2)" },
	{ ONE ONE, "c:2:1: this key is there already (line 1): 'listeners'" },
	{ ONE "? [a]\n: b\n", "c:2:3: a key cannot be a list or a mapping" },
	{ ONE "log: &a { level: info }\n", "c:2:6: this is a YAML anchor" },
	{ ONE "log: *a\n", "c:2:6: this is a YAML alias" },
	{ ONE "log: { <<: { level: info } }\n", "c:2:8: this is a YAML merge key" },
	{ ONE "log: !!map { level: info }\n", "c:2:6: this is a YAML tag" },
	{ ONE "log: info\n", "c:2:6: not a mapping: 'info'; accepted: a mapping" },
	{ ONE "log: { level: [info] }\n", "c:2:15: a list is not accepted here; accepted: error" },
	{ ONE "log: { level: loud }\n", "c:2:15: not accepted here: 'loud'; accepted: error, "
					"warning, info, debug" },
	{ ONE "log: { level: }\n", "c:2:8: no value: 'level'" },
	{ ONE "timeouts: { idle: 17 }\n", "c:2:19: no time (is the unit there?): '17'" },
	{ ONE "timeouts: { idle: 0 }\n", "c:2:19: out of range: '0'; accepted: a time from 1ms" },
	{ ONE "timeouts: { sniff: 2h }\n", "c:2:20: out of range: '2h'; accepted: a time from "
					   "1ms to 1h" },
	{ ONE "timeouts: { sniff: 99999999999d }\n", "c:2:20: out of range" },
	{ ONE "limits: { look-ahead: 512B }\n", "c:2:23: out of range: '512B'; accepted: a size "
						"from 1KiB to 1MiB" },
	{ ONE "limits: { look-ahead: 64k }\n", "c:2:23: no size (is the unit there?): '64k'" },
	{ ONE "limits: { threads: -1 }\n", "c:2:20: no number: '-1'; accepted: a number from 0 "
					   "to 1024" },
	{ ONE "limits: { threads: 2000 }\n", "c:2:20: out of range: '2000'" },
	{ ONE "firewall: { mark: 0x }\n", "c:2:19: no number: '0x'" },
	{ ONE "firewall: { mark: 0x100000000 }\n", "c:2:19: out of range" },
	{ ONE "record: { flows: {} }\n", "c:2:18: this key is missing: 'file'" },
};

static const struct bad listeners[] = {
	{ "listeners: { mode: tproxy }\n", "c:1:12: not a list of mappings; accepted: a list of" },
	{ "listeners: [tproxy]\n", "c:1:13: not a mapping: 'tproxy'" },
	{ "listeners: [{ mode: tprxy, address: \"127.0.0.1:1\" }]\n",
	  "c:1:21: not accepted here (perhaps 'tproxy'): 'tprxy'; accepted: tproxy, redirect, "
	  "fixed" },
	{ "listeners: [{ mode: tproxy }]\n", "c:1:13: this key is missing: 'address'" },
	{ "listeners: [{ address: \"127.0.0.1:1\" }]\n", "c:1:13: this key is missing: 'mode'; "
							 "accepted: tproxy, redirect, fixed" },
	{ "listeners: [{ mode: tproxy, address: [] }]\n", "c:1:38: an empty list" },
	{ "listeners: [{ mode: tproxy, address: 127.0.0.1 }]\n",
	  "c:1:38: no ip:port: '127.0.0.1'" },
	{ "listeners: [{ mode: tproxy, address: \"127.0.0.1:0\" }]\n", "c:1:38: no ip:port" },
	{ "listeners: [{ mode: tproxy, address: [{ a: b }] }]\n", "c:1:39: a mapping is not" },
	{ "listeners: [{ mode: dns, address: \"1.1.1.1:1\", sniff: tls }]\n",
	  "c:1:48: without effect for mode dns: 'sniff'" },
	{ "listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", target: sni }]\n",
	  "c:1:51: without effect for mode tproxy: its clients ask for no server: 'target'" },
	{ "listeners: [{ mode: http, address: \"1.1.1.1:1\", target: dns }]\n",
	  "c:1:57: not accepted here: 'dns'; accepted: request, sni, host" },
	{ "listeners: [{ mode: http, address: \"1.1.1.1:1\", target: [sni, request] }]\n",
	  "c:1:63: this word stands alone: 'request'; accepted: sni, host" },
	{ "listeners: [{ mode: http, address: \"1.1.1.1:1\", target: sni, sniff: http }]\n",
	  "c:1:57: without effect where sniff does not look for tls: 'sni'" },
	{ "listeners: [{ mode: http, address: \"1.1.1.1:1\", target: host, sniff: false }]\n",
	  "c:1:57: without effect where sniff does not look for http: 'host'" },
	{ "listeners: [{ mode: redirect, address: \"1.1.1.1:1\", network: [tcp, udp] }]\n",
	  "c:1:68: mode redirect is for connections only: 'udp'; accepted: tcp, or" },
	{ "listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", network: sctp }]\n",
	  "c:1:60: not accepted here: 'sctp'; accepted: tcp, udp" },
	{ "listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", sniff: true }]\n",
	  "c:1:58: not accepted here: 'true'; accepted: tls, http, a list of these, false" },
	{ "listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", name: a b }]\n",
	  "c:1:57: no name: 'a b'" },
	{ "listeners: [{ mode: fixed, address: \"1.1.1.1:1\" }]\n",
	  "c:1:13: this key is missing for mode fixed: 'to'" },
	{ "listeners: [{ mode: fixed, address: \"1.1.1.1:1\", to: db }]\n",
	  "c:1:54: neither ip:port nor name:port: 'db'; accepted: ip:port as" },
	{ "listeners: [{ mode: fixed, address: \"1.1.1.1:1\", to: \"a..b:1\" }]\n",
	  "c:1:54: neither ip:port nor name:port: 'a..b:1'" },
	{ "listeners: [{ mode: fixed, address: \"1.1.1.1:1\", to: \"db:0\" }]\n",
	  "c:1:54: neither ip:port nor name:port: 'db:0'" },
	{ "listeners: [{ mode: fixed, address: \"1.1.1.1:1\", to: \"1.1.1.999:80\" }]\n",
	  "c:1:54: neither ip:port nor name:port: '1.1.1.999:80'" },
	{ ONE "resolver: { servers: [ns.example] }\n",
	  "c:2:23: neither ip nor ip:port: 'ns.example'; accepted: ip as" },
	{ ONE "resolver: { servers: \"9.9.9.9:0\" }\n",
	  "c:2:22: neither ip nor ip:port: '9.9.9.9:0'" },
	{ ONE "resolver: { servers: [0.0.0.0] }\n", "c:2:23: a server needs an address" },
	{ ONE "resolver: { timeout: 0s }\n", "c:2:22: out of range" },
	{ ONE "resolver: { attempts: 0 }\n", "c:2:23: out of range" },
	{ ONE "resolver: { rotate: maybe }\n", "c:2:21: neither true nor false" },
	{ "listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", to: \"1.1.1.1:2\" }]\n",
	  "c:1:51: without effect for mode tproxy: 'to'" },
	{ "listeners:\n"
	  "- { mode: tproxy, address: \"1.1.1.1:1\" }\n"
	  "- { mode: tproxy, address: [\"[::1]:1\", \"1.1.1.1:1\"] }\n",
	  "c:3:40: this address is listened on already (line 2): '1.1.1.1:1'" },
	{ "listeners:\n"
	  "- { mode: tproxy, address: \"1.1.1.1:1\" }\n"
	  "- { mode: tproxy, address: \"0.0.0.0:1\" }\n",
	  "c:2:28: all addresses of this port are listened on already (line 3): '1.1.1.1:1'" },
	{ "listeners:\n"
	  "- { name: tproxy-2, mode: tproxy, address: \"1.1.1.1:1\" }\n"
	  "- { mode: tproxy, address: \"1.1.1.1:2\" }\n",
	  "c:3:3: another listener has this name (line 2): 'tproxy-2'" },
};

#define RULE(rest) ONE "rules:\n- { name: a, " rest " }\n"
#define MATCH(rest) RULE("match: { " rest " }, action: accept")

static const struct bad rules[] = {
	{ ONE "rules: { name: a }\n", "c:2:8: not a list of mappings" },
	{ RULE("action: allow"), "c:3:22: not accepted here: 'allow'; accepted: accept, deny, "
				 "reject\n" },
	{ RULE("disabled: no"), "c:3:24: neither true nor false: 'no'; accepted: true, false\n" },
	{ RULE("disabled: true"), "c:3:3: this key is missing: 'action'" },
	{ ONE "rules: [{ action: accept }]\n", "c:2:9: this key is missing: 'name'" },
	{ RULE("action: deny, source: keep"), "c:3:28: without effect where the action is deny: "
					      "'source'" },
	{ RULE("action: reject, strict: true"), "c:3:30: without effect where the action is" },
	{ RULE("action: reject, offload: copy"), "c:3:30: without effect where the action is" },
	{ RULE("action: accept, strict: true"), "c:3:30: without effect where the source is own" },
	{ RULE("match: [a], action: deny"), "c:3:21: not a mapping" },
	{ RULE("match: { not: { not: { port: 1 } } }, action: deny"),
	  "c:3:30: unknown key: 'not'" },
	{ RULE("not: {}, action: deny"), "c:3:19: this mapping holds for everything" },
	{ RULE("not: [{ port: 1 }, {}], action: deny"), "c:3:33: this mapping holds for" },
	{ MATCH("port: []"), "c:3:29: an empty list" },
	{ MATCH("port: 0"), "c:3:29: no port: '0'; accepted: a port from 1 to 65535" },
	{ MATCH("port: 65536"), "c:3:29: no port: '65536'" },
	{ MATCH("port: 2-1"), "c:3:29: no port: '2-1'" },
	{ MATCH("port: [80, 1-x]"), "c:3:34: no port: '1-x'" },
	{ MATCH("protocol: ssh"), "c:3:33: not accepted here: 'ssh'; accepted: tls, http" },
	{ MATCH("network: icmp"), "c:3:32: not accepted here: 'icmp'; accepted: tcp, udp" },
	{ MATCH("listener: b"), "c:3:33: there is no such listener: 'b'; accepted: tproxy-1" },
	{ MATCH("source: 10.0.0.1/8"), "c:3:31: bits are set behind the prefix" },
	{ MATCH("source: example.net"), "c:3:31: a name in a set of networks: 'example.net'" },
	{ MATCH("source: 10.0.0.256"), "c:3:31: no network: '10.0.0.256'" },
	{ MATCH("domain: 10.0.0.1"), "c:3:31: a network in a set of names: '10.0.0.1'" },
	{ MATCH("domain: a..b"), "c:3:31: no domain pattern: 'a..b'; accepted: example.net, " },
	{ MATCH("domain: *.a.net"), "c:3:31: this is a YAML alias, which is not used here: quote" },
	{ MATCH("source: !$lan"), "c:3:31: this is a YAML tag, write not: {source: $lan} or quote "
				  "it: '!$lan'\n" },
	{ MATCH("source: $lan"), "c:3:31: there is no such set: '$lan'\n" },
	{ "sets: { lan: 10.0.0.0/8 }\n" MATCH("source: $lam"),
	  "c:4:31: there is no such set (perhaps '$lan'): '$lam'; accepted: $lan" },
	{ RULE("action: deny") "- { name: b, match: { port: 1 }, action: deny }\n",
	  "c:4:11: this rule never matches, rule 'a' above matches everything: 'b'" },
	{ RULE("match: {}, action: deny") "- { name: b, action: deny }\n", "c:4:11: this rule" },
	{ MATCH("port: 1") "- { name: a, action: deny }\n", "c:4:11: another rule has this name "
							    "(line 3): 'a'" },
	{ "listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", sniff: http }]\n"
	  "rules: [{ name: a, match: { protocol: tls }, action: deny }]\n",
	  "c:2:29: the rule never matches: its listeners do not sniff for this: 'protocol'" },
	{ "listeners: [{ mode: fixed, to: \"2.2.2.2:2\", address: \"1.1.1.1:1\", sniff: false }]\n"
	  "rules: [{ name: a, match: { domain: a.net }, action: deny }]\n",
	  "c:2:29: the rule never matches: its listeners do not sniff: 'domain'" },
	{ MATCH("user: ann"), "c:3:23: the rule never matches: its listeners have no users: 'user'" },
	{ ONE "users: { a: { file: none } }\n", "c:2:21: cannot be read: No such file or directory: "
						"'none'" },
	{ ONE "users: { a: {} }\n", "c:2:13: " },
	{ "listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", users: a }]\n"
	  "users: { a: { file: /dev/null } }\n",
	  "c:1:51: without effect for mode tproxy: its clients cannot be asked: 'users'" },
};

#define SETS(sets, rest) "sets: { " sets " }\n" MATCH(rest)

static const struct bad sets[] = {
	{ ONE "sets: [a]\n", "c:2:7: not a mapping" },
	{ ONE "sets: { lan: 10.0.0.0/8 }\n", "c:2:9: no rule and no set uses this set: 'lan'" },
	{ ONE "sets: { a b: 10.0.0.0/8 }\n", "c:2:9: no name: 'a b'" },
	{ SETS("a: [10.0.0.0/8], a: x.net", "source: $a"), "c:1:26: this key is there already" },
	{ SETS("a: [10.0.0.0/8, x.net]", "source: $a"), "c:1:25: a name in a set of networks" },
	{ SETS("a: [x.net, '::1']", "source: $a"), "c:1:20: a network in a set of names: '::1'" },
	{ SETS("a: [x.net, $b], b: '::1'", "domain: $a"), "c:1:20: a set of networks in a set of" },
	{ SETS("a: x.net, \"\\x1b\": y.net", "domain: $b"), "c:4:31: there is no such set: '$b'; "
							    "accepted: $a\n" },
	{ SETS("a: [x.net]", "source: $a"), "c:4:31: networks are asked for here, not domain" },
	{ SETS("a: ['::1']", "domain: [$a]"), "c:4:32: domain names are asked for here, not" },
	{ SETS("a: $b, b: [$c], c: $a", "source: $a"), "c:1:28: this set contains itself: '$a'" },
	{ SETS("a: $a", "source: $a"), "c:1:12: this set contains itself: '$a'" },
	{ SETS("a: $x", "source: $a"), "c:1:12: there is no such set: '$x'; accepted: $a" },
	{ SETS("a: [[x.net]]", "source: $a"), "c:1:13: a list is not accepted here" },
	{ SETS("a: { file: none }", "source: $a"), "c:1:20: the set cannot be read (No such file "
						   "or directory): 'none'" },
	{ SETS("a: { file: /dev/null }", "source: $a"), "c:1:20: the set cannot be read (not a "
							"regular file): '/dev/null'" },
	{ SETS("a: { file: [b] }", "source: $a"), "c:1:20: a list is not accepted here; accepted: "
						  "the path of a file" },
	{ SETS("a: { path: b }", "source: $a"), "c:1:14: unknown key: 'path'; accepted: file" },
	{ SETS("a: { file: bad }", "domain: $a"),
	  "bad:3:1: neither a network nor a domain pattern: 'x..net'" },
	{ SETS("a: { file: bad }", "domain: $a"), "bad:5:1: a network in a set of names: '::1'" },
	{ SETS("a: { file: nul }", "domain: $a"), "nul:1:1: a NUL byte" },
};

/* All of a table is tried before the test fails. */
static void bad_check(const struct bad *list, size_t n)
{
	size_t n_wrong = 0;

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *said = load(list[i].text, strlen(list[i].text), NULL);
		const char *at = strstr(said, list[i].said);

		if (at && (at == said || at[-1] == '\n'))
			continue;
		print_error("%sled to\n%sand not to\n%s\n\n", list[i].text, said, list[i].said);
		n_wrong++;
	}
	assert_int_equal(n_wrong, 0);
}

static void test_top(void **state)
{
	(void)state;
	bad_check(top, ARRAY_SIZE(top));
}

static void test_listeners(void **state)
{
	(void)state;
	bad_check(listeners, ARRAY_SIZE(listeners));
	bad_check(tls, ARRAY_SIZE(tls));
	bad_check(dialers, ARRAY_SIZE(dialers));
}

static void test_rules(void **state)
{
	(void)state;
	bad_check(rules, ARRAY_SIZE(rules));
}

static void test_sets(void **state)
{
	static const char bad[] = "# names\n\nx..net # two dots\ny.net\n  ::1\n";

	(void)state;
	file_put("bad", bad, strlen(bad));
	file_put("nul", "a\0b\n", 4);
	bad_check(sets, ARRAY_SIZE(sets));
}

/* Name servers may tell what nobody sniffs. */
static void test_domains_without_sniffing(void **state)
{
	static const char *const texts[] = {
		"listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", sniff: false }]\n"
		"rules: [{ name: a, match: { domain: a.net }, action: deny }]\n",
		"listeners: [{ mode: fixed, to: \"2.2.2.2:53\", address: \"1.1.1.1:1\", sniff: false }]\n"
		"rules: [{ name: a, match: { domain: a.net }, action: deny }]\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_free_ char *said = load(texts[i], strlen(texts[i]), NULL);

		assert_string_equal(said, "");
	}
}

/* A set that is wrong in itself is said once, not again where it is used. */
static void test_once_and_in_order(void **state)
{
	static const char text[] = "rules:\n"
				   "- { name: a, match: { source: $s, port: x }, action: allow }\n"
				   "listeners: [{ mode: tprxy, address: nowhere }]\n"
				   "sets: { s: [1.1.1.1/8] }\n"
				   "loq: x\n";
	_cleanup_free_ char *said = load(text, strlen(text), NULL);
	unsigned int last_line = 0, n = 0;

	(void)state;
	for (const char *p = said; *p; p = strchr(p, '\n') + 1, n++) {
		unsigned int line = (unsigned int)atoi(p + 2);

		assert_true(line >= last_line);
		last_line = line;
	}
	assert_int_equal(n, 6);
}

static void test_limits_of_a_file(void **state)
{
	size_t len = YAML_MAX_BYTES + 1;
	char *big = malloc(len), *said;

	(void)state;
	assert_non_null(big);
	memset(big, '\n', len);
	said = load(big, len, NULL);
	assert_string_equal(said, "c:1:1: the file is too big; accepted: at most 16 MiB\n");
	free(said);
	memcpy(big, "a: \"\0\"\n", 7);
	said = load(big, 7, NULL);
	assert_string_equal(said, "c:1:5: a NUL byte\n");
	free(said);
	free(big);
}

static void test_many_errors(void **state)
{
	char *text = NULL, *said;
	size_t len = 0, n = 0;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	fputs(ONE, f);
	for (int i = 0; i < 5000; i++)
		fprintf(f, "k%d: 1\n", i);
	fclose(f);
	said = load(text, len, NULL);
	for (const char *p = said; *p; p = strchr(p, '\n') + 1)
		n++;
	assert_int_equal(n, 201);
	assert_non_null(strstr(said, ": and 4800 more errors\n"));
	free(said);
	free(text);
}

static const char full[] =
	"\xef\xbb\xbf" /* byte order mark */
	"listeners:\n"
	"  - { mode: tproxy, address: [\"127.0.0.1:50080\", \"[::1]:50080\"], network: [tcp, udp] }\n"
	"  - { name: r, mode: redirect, address: \"127.0.0.1:51080\", sniff: false }\n"
	"  - { mode: fixed, address: \"127.0.0.1:1\", to: \"192.0.2.1:5432\", sniff: tls }\n"
	"  - { mode: fixed, address: \"127.0.0.1:2\", to: \"DB.example.:5433\" }\n"
	"resolver: { servers: [192.0.2.53, \"[2001:db8::53]:5353\", \"2001:db8::1\"], timeout: 1s,\n"
	"            attempts: 3, rotate: true }\n"
	"sets:\n"
	"  lan: [10.0.0.0/8, \"fd00::/8\"]\n"
	"  more: [$lan, $lan, 172.16.0.0/12]\n"
	"  names: { file: names }\n"
	"  none: []\n"
	"rules:\n"
	"  - { name: one, match: { domain: $names, protocol: [tls, http] }, action: accept,\n"
	"      source: keep, strict: true }\n"
	"  - name: two\n"
	"    match: { source: [$more, 192.0.2.77], port: [80, 8000-8099], listener: [r, fixed-3],\n"
	"             not: { source-port: 1-1023 } }\n"
	"    not: [ { destination: $lan }, { port: 22 } ]\n"
	"    action: reject\n"
	"  - { name: off, disabled: true, action: deny }\n"
	"  - { name: empty, match: { destination: $none, network: udp }, action: deny }\n"
	"  - { name: rest, match: { source: $lan }, action: accept, offload: splice }\n"
	"timeouts: { sniff: 250ms, drain: 0 }\n"
	"limits: { flows: 10, look-ahead-total: 8GiB }\n"
	"firewall: { mark: 0 }\n"
	"log: { level: debug }\n"
	"record: { flows: { file: flows.json } }\n";

static void full_listeners(const struct config *c)
{
	uint32_t both = 1u << PROTOCOL_TLS | 1u << PROTOCOL_HTTP;

	assert_int_equal(c->n_listeners, 4);
	assert_string_equal(c->listeners[0].name, "tproxy-1");
	assert_int_equal(c->listeners[0].n_addresses, 2);
	assert_int_equal(c->listeners[0].addresses[1].family, 6);
	assert_int_equal(c->listeners[0].protocols, both);
	assert_int_equal(c->listeners[0].networks, 1u << NETWORK_TCP | 1u << NETWORK_UDP);
	assert_string_equal(c->listeners[1].name, "r");
	assert_int_equal(c->listeners[1].networks, 1u << NETWORK_TCP);
	assert_int_equal(c->listeners[1].protocols, 0);
	assert_string_equal(c->listeners[2].name, "fixed-3");
	assert_int_equal(c->listeners[2].mode, LISTENER_FIXED);
	assert_int_equal(c->listeners[2].to.port, 5432);
	assert_int_equal(c->listeners[2].protocols, 1u << PROTOCOL_TLS);
	assert_null(c->listeners[2].to_name.name);
	assert_string_equal(c->listeners[3].to_name.name, "db.example");
	assert_int_equal(c->listeners[3].to_name.port, 5433);
}

static void full_resolver(const struct resolver_settings *r)
{
	assert_int_equal(r->n_servers, 3);
	assert_int_equal(r->servers[0].port, 0);
	assert_int_equal(r->servers[1].port, 5353);
	assert_int_equal(r->servers[2].family, 6);
	assert_int_equal(r->timeout_ms, 1000);
	assert_int_equal(r->attempts, 3);
	assert_int_equal(r->rotate, 1);
}

static void full_rules(const struct policy *p)
{
	const struct rule *r = p->rules;
	struct addr a;

	assert_int_equal(p->n_rules, 4);
	assert_string_equal(r[0].name, "one");
	assert_int_equal(r[0].plan.source, SOURCE_KEEP);
	assert_true(r[0].plan.strict);
	assert_true(nameset_contains(r[0].match.domain, "a.example.net"));
	assert_false(nameset_contains(r[0].match.domain, "example.net"));
	assert_true(nameset_contains(r[0].match.domain, "example.org"));
	assert_int_equal(r[1].verdict, VERDICT_REJECT);
	assert_int_equal(r[1].n_not, 3);
	assert_int_equal(r[1].match.n_listeners, 2);
	assert_int_equal(r[1].match.listeners[1], 2);
	assert_int_equal(r[1].match.ports[1].last, 8099);
	for (size_t i = 0; i < 3; i++) {
		static const char *const in[] = { "10.1.1.1", "172.31.0.1", "192.0.2.77" };

		assert_int_equal(addr_parse_ip(in[i], &a), 0);
		assert_true(netset_contains(r[1].match.source, &a));
		assert_true(netset_contains(r[3].match.source, &a) == (i == 0));
		assert_false(netset_contains(r[2].match.destination, &a));
	}
	assert_ptr_equal(r[3].match.source, r[1].not [1].destination); /* shared, not copied */
	assert_int_equal(r[3].plan.offload, OFFLOAD_SPLICE);
}

static void test_full(void **state)
{
	static const char names[] = "*.Example.NET. # below\r\n\n#x\n  example.org";
	struct config *c;
	char *said, path[128];

	(void)state;
	file_put("names", names, strlen(names));
	said = load(full, strlen(full), &c);
	assert_string_equal(said, "");
	full_listeners(c);
	full_rules(c->policy);
	full_resolver(&c->resolver);
	path_of("flows.json", path);
	assert_string_equal(c->record_flows, path);
	assert_int_equal(c->timeouts.sniff_ms, 250);
	assert_int_equal(c->timeouts.drain_ms, 0);
	assert_int_equal(c->timeouts.idle_ms, 600000);
	assert_int_equal(c->limits.flows, 10);
	assert_true(c->limits.look_ahead_total_bytes == UINT64_C(8) << 30);
	assert_int_equal(c->mark, 0);
	assert_int_equal(c->log, LOG_DEBUG);
	config_free(c);
	free(said);
}

static void test_million_lines(void **state)
{
	static const char text[] = SETS("a: { file: million }", "domain: $a");
	char *lines = malloc(32 * 1000000), *p = lines, *said;
	struct config *c;

	(void)state;
	assert_non_null(lines);
	for (int i = 0; i < 1000000; i++)
		p += sprintf(p, "h%d.example.net\n", i);
	file_put("million", lines, (size_t)(p - lines));
	free(lines);
	said = load(text, strlen(text), &c);
	assert_string_equal(said, "");
	assert_int_equal(nameset_count(c->policy->rules[0].match.domain), 1000000);
	config_free(c);
	free(said);
}

static void test_no_file(void **state)
{
	char path[128], *said = NULL;
	size_t len = 0;
	FILE *errors = open_memstream(&said, &len);
	struct config *c;

	(void)state;
	path_of("none", path);
	assert_int_equal(config_load(path, errors, &c), -ENOENT);
	assert_int_equal(config_load(folder, errors, &c), -EISDIR);
	fclose(errors);
	assert_non_null(strstr(said, "none: cannot be read: No such file or directory\n"));
	free(said);
}

static int folder_make(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
	static const char *const names[] = { "c", "bad", "nul", "names", "million" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[128];

		path_of(names[i], path);
		unlink(path);
	}
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_top),
		cmocka_unit_test(test_listeners),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_domains_without_sniffing),
		cmocka_unit_test(test_once_and_in_order),
		cmocka_unit_test(test_limits_of_a_file),
		cmocka_unit_test(test_many_errors),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_million_lines),
		cmocka_unit_test(test_no_file),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
