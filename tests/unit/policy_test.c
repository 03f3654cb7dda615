/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Truth tables by hand, then random policies against a reference that knows nothing of three
 * values: it fills in what is unknown in every possible way and looks at what comes out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/policy.h"

static struct netset *net(const char *text)
{
	struct netset *s = netset_new();

	assert_non_null(s);
	assert_int_equal(netset_add(s, text), 0);
	netset_seal(s);
	return s;
}

static struct nameset *names(const char *text)
{
	struct nameset *s = nameset_new();

	assert_non_null(s);
	assert_int_equal(nameset_add(s, text), 0);
	return s;
}

static struct addr addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static struct decision decide(struct rule *rules, size_t n, const struct facts *f)
{
	struct policy p = { .rules = rules, .n_rules = n };
	struct decision d;

	memset(&d, 0xff, sizeof(d));
	policy_decide(&p, f, &d);
	return d;
}

static void test_empty_denies(void **state)
{
	struct facts f = { 0 };
	struct decision d = decide(NULL, 0, &f);

	(void)state;
	assert_true(d.final);
	assert_false(d.dial_early);
	assert_null(d.rule);
	assert_int_equal(d.verdict, VERDICT_DENY);
}

static void test_first_match(void **state)
{
	struct port_range web[] = { { 80, 80 }, { 440, 450 } };
	struct rule rules[] = {
		{ .match = { .ports = web, .n_ports = 2 }, .verdict = VERDICT_REJECT },
		{ .plan = { .source = SOURCE_KEEP, .strict = true } },
	};
	struct facts f = { .client = addr("10.0.0.1:999"), .target = addr("192.0.2.1:443") };
	struct decision d = decide(rules, 2, &f);

	(void)state;
	assert_true(d.final);
	assert_ptr_equal(d.rule, &rules[0]);
	assert_int_equal(d.verdict, VERDICT_REJECT);
	f.target.port = 451;
	d = decide(rules, 2, &f);
	assert_ptr_equal(d.rule, &rules[1]);
	assert_int_equal(d.verdict, VERDICT_ACCEPT);
	assert_int_equal(d.plan.source, SOURCE_KEEP);
	assert_true(d.plan.strict);
}

/* One rule, `match: x` and then `not: x`, for each state of what x asks. */
struct row {
	const char *what;
	struct condition c;
	struct facts f;
	int match, not ; /* 1: accept, 0: deny, -1: open; -1 with settled facts: deny */
};

static void row_check(const struct row *row)
{
	struct condition c = row->c;
	struct rule match = { .match = c };
	struct rule not = { .not = &c, .n_not = 1 };
	struct rule *both[] = { &match, &not };
	int want[] = { row->match, row->not };

	for (int i = 0; i < 2; i++) {
		struct facts f = row->f;
		struct decision d = decide(both[i], 1, &f);

		if (d.final != (want[i] >= 0))
			fail_msg("%s, %s: final is %d", row->what, i ? "not" : "match", d.final);
		if (d.final && (d.verdict == VERDICT_ACCEPT) != want[i])
			fail_msg("%s, %s: %s", row->what, i ? "not" : "match",
				 verdict_name(d.verdict));
		assert_false(d.dial_early); /* the implicit deny is possible too */
		f.settled = true;
		d = decide(both[i], 1, &f);
		assert_true(d.final);
		assert_int_equal(d.verdict == VERDICT_ACCEPT, want[i] == 1);
	}
}

static void test_conditions(void **state)
{
	static char host[] = "www.example.net";
	struct netset *lan = net("10.0.0.0/8"), *six = net("fd00::/8");
	struct nameset *example = names("*.example.net"), *org = names("example.org");
	struct port_range low = { 1, 1023 };
	uint16_t one = 1;
	struct addr client = addr("10.1.1.1:1023"), away = addr("192.0.2.1:1024");
	uint32_t tls = 1u << PROTOCOL_TLS, http = 1u << PROTOCOL_HTTP;
	const struct row rows[] = {
		{ "source in", { .source = lan }, { .client = client }, 1, 0 },
		{ "source out", { .source = lan }, { .client = away }, 0, 1 },
		{ "source other family", { .source = six }, { .client = client }, 0, 1 },
		{ "destination unknown", { .destination = lan }, { .client = client }, -1, -1 },
		{ "destination in", { .destination = lan }, { .target = client }, 1, 0 },
		{ "destination out", { .destination = lan }, { .target = away }, 0, 1 },
		{ "port unknown", { .ports = &low, .n_ports = 1 }, { .client = client }, -1, -1 },
		{ "port in", { .ports = &low, .n_ports = 1 }, { .target = client }, 1, 0 },
		{ "port out", { .ports = &low, .n_ports = 1 }, { .target = away }, 0, 1 },
		{ "source port in",
		  { .source_ports = &low, .n_source_ports = 1 },
		  { .client = client },
		  1,
		  0 },
		{ "source port out",
		  { .source_ports = &low, .n_source_ports = 1 },
		  { .client = away },
		  0,
		  1 },
		{ "tcp", { .networks = 1u << NETWORK_TCP }, { .network = NETWORK_TCP }, 1, 0 },
		{ "udp", { .networks = 1u << NETWORK_TCP }, { .network = NETWORK_UDP }, 0, 1 },
		{ "listener 1", { .listeners = &one, .n_listeners = 1 }, { .listener = 1 }, 1, 0 },
		{ "listener 0", { .listeners = &one, .n_listeners = 1 }, { .listener = 0 }, 0, 1 },
		{ "protocol unknown", { .protocols = tls }, { 0 }, -1, -1 },
		{ "protocol tls", { .protocols = tls | http }, { .protocol = PROTOCOL_TLS }, 1, 0 },
		{ "protocol http", { .protocols = tls }, { .protocol = PROTOCOL_HTTP }, 0, 1 },
		{ "protocol other", { .protocols = tls }, { .protocol = PROTOCOL_OTHER }, 0, 1 },
		{ "domain unknown", { .domain = example }, { 0 }, -1, -1 },
		{ "domain of what is neither",
		  { .domain = example },
		  { .protocol = PROTOCOL_OTHER },
		  -1,
		  -1 },
		{ "domain in", { .domain = example }, { .host = host }, 1, 0 },
		{ "domain out", { .domain = org }, { .host = host }, 0, 1 },
		{ "false beats unknown",
		  { .source = six, .domain = example },
		  { .client = client },
		  0,
		  1 },
		{ "unknown target, false protocol",
		  { .destination = lan, .protocols = tls },
		  { .protocol = PROTOCOL_HTTP },
		  0,
		  1 },
		{ "unknown beats true",
		  { .source = lan, .domain = example },
		  { .client = client },
		  -1,
		  -1 },
		{ "asks nothing", { 0 }, { 0 }, 1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		row_check(&rows[i]);
	netset_free(lan);
	netset_free(six);
	nameset_free(example);
	nameset_free(org);
}

static void test_dial_early(void **state)
{
	struct nameset *example = names("example.net");
	struct rule rules[] = {
		{ .match = { .domain = example } },
		{ .match = { .protocols = 1u << PROTOCOL_TLS } },
		{ .name = NULL },
		{ .verdict = VERDICT_DENY },
	};
	struct facts f = { .client = addr("10.0.0.1:999"), .target = addr("192.0.2.1:443") };
	struct decision d = decide(rules, 4, &f);

	(void)state;
	assert_false(d.final);
	assert_true(d.dial_early);
	assert_null(d.rule);
	assert_int_equal(d.plan.source, SOURCE_OWN);
	rules[1].plan.source = SOURCE_KEEP; /* another plan in between */
	assert_false(decide(rules, 4, &f).dial_early);
	rules[1].plan.source = SOURCE_OWN;
	rules[2].plan.offload = OFFLOAD_COPY; /* another plan at the end */
	assert_false(decide(rules, 4, &f).dial_early);
	rules[2].plan.offload = OFFLOAD_AUTO;
	rules[0].verdict = VERDICT_REJECT; /* an open rule rejects */
	assert_false(decide(rules, 4, &f).dial_early);
	rules[0].verdict = VERDICT_ACCEPT;
	assert_false(decide(rules, 2, &f).dial_early); /* the implicit deny is possible */
	assert_true(decide(rules, 3, &f).dial_early);
	f.settled = true;
	d = decide(rules, 3, &f);
	assert_true(d.final);
	assert_false(d.dial_early);
	assert_ptr_equal(d.rule, &rules[2]);
	nameset_free(example);
}

/* A rule about addresses, behind and before others: when is the name asked for? */
static void test_needs_address(void **state)
{
	static char name[] = "db.example.net";
	struct netset *lan = net("10.0.0.0/8");
	struct nameset *example = names(".example.net"), *org = names("example.org");
	struct port_range pg = { 5432, 5432 };
	struct rule rules[] = {
		{ .verdict = VERDICT_REJECT },
		{ .match = { .destination = lan }, .verdict = VERDICT_REJECT },
		{ .name = NULL },
	};
	struct facts f = { .target_name = name, .target = { .port = 5432 } };

	(void)state;
	rules[0].match = (struct condition){ .ports = &pg, .n_ports = 1 };
	assert_true(decide(rules, 3, &f).final); /* by the port */
	rules[0].match = (struct condition){ .domain = example };
	assert_true(decide(rules, 3, &f).final); /* by the name */
	rules[0].match = (struct condition){ .domain = org };
	assert_false(decide(rules, 3, &f).final); /* the client may say it */
	assert_false(decide(rules, 3, &f).needs_address);
	f.settled = true; /* it will not */
	assert_true(decide(rules, 3, &f).needs_address);
	f.settled = false;
	assert_true(decide(rules + 1, 2, &f).needs_address); /* whatever it says */
	rules[0].match.destination = lan;
	rules[0].match.domain = org;
	assert_false(decide(rules, 1, &f).needs_address); /* both are unknown */
	f.protocol = PROTOCOL_OTHER;
	rules[0].match = (struct condition){ .destination = lan, .protocols = 1u << PROTOCOL_TLS };
	assert_true(decide(rules, 1, &f).final); /* never */
	rules[1].verdict = VERDICT_ACCEPT;
	assert_true(decide(rules + 1, 2, &f).dial_early); /* all the same */
	f.target.family = 4;
	assert_true(decide(rules + 1, 2, &f).final);
	netset_free(lan);
	nameset_free(example);
	nameset_free(org);
}

/* The property test: small worlds, so that every completion can be enumerated. */

static uint32_t seed;

static uint32_t dice(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static char hosts[][8] = { "a.net", "x.a.net", "b.org" };
static const char *const targets[] = { "10.0.0.1:80", "10.0.0.1:443", "192.0.2.9:80",
				       "[fd00::1]:443" };

struct world {
	struct netset *nets[3];
	struct nameset *names[3];
	struct port_range ports[2];
	uint16_t listeners[2];
};

static struct condition condition_random(struct world *w)
{
	struct condition c = { 0 };

	if (!dice(4))
		c.source = w->nets[dice(3)];
	if (!dice(4))
		c.destination = w->nets[dice(3)];
	if (!dice(3))
		c.domain = w->names[dice(3)];
	if (!dice(4)) {
		c.ports = &w->ports[dice(2)];
		c.n_ports = 1;
	}
	if (!dice(6)) {
		c.listeners = &w->listeners[dice(2)];
		c.n_listeners = 1;
	}
	if (!dice(6))
		c.networks = 1 + dice(3);
	if (!dice(3))
		c.protocols = 1u << (PROTOCOL_TLS + dice(2));
	return c;
}

/* All is known but perhaps the host (then: neither yes nor no), written in another way. */
static bool naive_match(const struct rule *r, const struct facts *f)
{
	for (size_t i = 0; i <= r->n_not; i++) {
		const struct condition *c = i ? &r->not [i - 1] : &r->match;
		bool rest = (!c->source || netset_contains(c->source, &f->client)) &&
			    (!c->destination || netset_contains(c->destination, &f->target)) &&
			    (!c->n_ports || (f->target.port >= c->ports->first &&
					     f->target.port <= c->ports->last)) &&
			    (!c->n_listeners || c->listeners[0] == f->listener) &&
			    (!c->networks || c->networks & 1u << f->network) &&
			    (!c->protocols || c->protocols & 1u << f->protocol);
		bool domain = !c->domain || (f->host && nameset_contains(c->domain, f->host)) ||
			      (f->target_name && nameset_contains(c->domain, f->target_name));
		bool muddy = c->domain && !f->host && !f->target_name;

		if (!i && !(rest && domain))
			return false;
		if (i && rest && (domain || muddy))
			return false;
	}
	return true;
}

static const struct rule *naive_decide(const struct policy *p, const struct facts *f)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (naive_match(&p->rules[i], f))
			return &p->rules[i];
	return NULL;
}

static void completion_check(const struct policy *p, const struct facts *full,
			     const struct decision *d)
{
	const struct rule *rule = naive_decide(p, full);
	struct facts settled = *full;
	struct decision all;

	settled.settled = true;
	policy_decide(p, &settled, &all);
	assert_true(all.final);
	assert_ptr_equal(all.rule, rule);
	if (d->final)
		assert_ptr_equal(d->rule, rule);
	if (d->dial_early) {
		assert_non_null(rule);
		assert_int_equal(rule->verdict, VERDICT_ACCEPT);
		assert_int_equal(rule->plan.source, d->plan.source);
	}
}

static void completions(const struct policy *p, const struct facts *f, const struct decision *d)
{
	for (size_t t = 0; t < ARRAY_SIZE(targets); t++)
		for (enum protocol k = PROTOCOL_OTHER; k <= PROTOCOL_HTTP; k++)
			for (size_t h = 0; h <= ARRAY_SIZE(hosts); h++) {
				struct facts full = *f;

				if (!f->target.family)
					full.target = addr(targets[t]);
				else if (t)
					continue;
				if (f->target_name)
					full.target.port = f->target.port;
				if (f->protocol == PROTOCOL_UNKNOWN)
					full.protocol = k;
				else if (k != PROTOCOL_OTHER)
					continue;
				if (!f->host)
					full.host = h < ARRAY_SIZE(hosts) ? hosts[h] : NULL;
				else if (h)
					continue;
				completion_check(p, &full, d);
			}
}

/* When nothing but the address is missing, either it is not needed, or it is asked for. */
static void address_check(const struct policy *p, const struct facts *f, const struct decision *d)
{
	struct facts settled = *f;
	struct decision later;

	if (!facts_lack_address(f))
		return;
	settled.settled = true;
	if (settled.protocol == PROTOCOL_UNKNOWN)
		settled.protocol = PROTOCOL_OTHER; /* the reference knows no other way */
	policy_decide(p, &settled, &later);
	assert_true(later.final || later.dial_early || later.needs_address);
	if (d->final)
		assert_ptr_equal(later.rule, d->rule);
	if (!later.needs_address)
		for (size_t t = 0; t < ARRAY_SIZE(targets); t++) {
			settled.target = addr(targets[t]);
			settled.target.port = f->target.port;
			completion_check(p, &settled, &later);
		}
}

static void random_round(struct world *w, size_t counts[3])
{
	struct condition nots[6][2];
	struct rule rules[6];
	struct policy p = { .rules = rules, .n_rules = dice(7) };
	struct facts f = { .network = dice(2), .listener = (uint16_t)dice(2) };
	struct decision d;

	memset(rules, 0, sizeof(rules));
	for (size_t i = 0; i < p.n_rules; i++) {
		rules[i].match = condition_random(w);
		rules[i].n_not = dice(3);
		rules[i].not = nots[i];
		nots[i][0] = condition_random(w);
		nots[i][1] = condition_random(w);
		rules[i].verdict = dice(2) ? VERDICT_ACCEPT : dice(3);
		rules[i].plan.source = dice(4) ? SOURCE_OWN : SOURCE_KEEP;
	}
	f.client = addr(targets[dice(4)]);
	if (dice(3))
		f.target = addr(targets[dice(4)]);
	f.protocol = dice(4);
	if (!dice(3))
		f.host = hosts[dice(3)];
	if (!f.target.family && dice(2)) {
		f.target_name = hosts[dice(3)];
		f.target.port = dice(2) ? 80 : 443;
	}
	policy_decide(&p, &f, &d);
	assert_false(d.final && d.dial_early);
	assert_true(d.final + d.dial_early + d.needs_address <= 1);
	assert_true(!d.needs_address || f.target_name);
	address_check(&p, &f, &d);
	counts[d.final ? 0 : d.dial_early ? 1 : 2]++;
	completions(&p, &f, &d);
}

static void test_against_reference(void **state)
{
	struct world w = {
		.nets = { net("10.0.0.0/8"), net("fd00::/8"), net("192.0.2.0/24") },
		.names = { names("a.net"), names(".a.net"), names("b.org") },
		.ports = { { 80, 80 }, { 443, 443 } },
		.listeners = { 0, 1 },
	};
	size_t counts[3] = { 0 };

	(void)state;
	for (seed = 1; seed < 4; seed++) {
		uint32_t start = seed;

		for (int i = 0; i < 20000; i++)
			random_round(&w, counts);
		seed = start;
	}
	/* Each kind of result did occur. */
	assert_true(counts[0] > 1000 && counts[1] > 100 && counts[2] > 1000);
	for (int i = 0; i < 3; i++) {
		netset_free(w.nets[i]);
		nameset_free(w.names[i]);
	}
}

static void test_words(void **state)
{
	struct facts f = { .host = strdup("a"), .alpn = strdup("h2"), .settled = true };

	(void)state;
	assert_string_equal(verdict_name(VERDICT_REJECT), "reject");
	assert_string_equal(source_name(SOURCE_KEEP_ADDRESS), "keep-address");
	assert_string_equal(offload_name(OFFLOAD_SPLICE), "splice");
	assert_string_equal(network_name(NETWORK_UDP), "udp");
	assert_string_equal(protocol_name(PROTOCOL_HTTP), "http");
	facts_done(&f);
	assert_null(f.host);
	assert_false(f.settled);
	policy_free(NULL);
}

/* Who has asked limpid for a name may still ask the server for another. */
static void test_mismatch(void **state)
{
	struct rule rules[] = {
		{ .match = { .mismatch = ASKED_TRUE }, .verdict = VERDICT_REJECT },
		{ .match = { .mismatch = ASKED_FALSE }, .verdict = VERDICT_ACCEPT },
	};
	struct facts f = { .target_name = (char *)"a.test", .host = (char *)"a.test" };
	struct decision d = decide(rules, 2, &f);

	(void)state;
	assert_true(d.final); /* it was said elsewhere: there is nothing to differ from */
	assert_ptr_equal(d.rule, &rules[1]);
	f.named = true;
	assert_false(decide(rules, 2, &f).final);
	f.protocol = PROTOCOL_TLS;
	assert_ptr_equal(decide(rules, 2, &f).rule, &rules[1]);
	f.mismatch = true;
	assert_ptr_equal(decide(rules, 2, &f).rule, &rules[0]);
	f.named = false; /* the other name has become the target */
	assert_ptr_equal(decide(rules, 2, &f).rule, &rules[0]);
	f = (struct facts){ .host = f.host, .named = true, .settled = true };
	assert_ptr_equal(decide(rules, 2, &f).rule, &rules[1]); /* it has said nothing */
}

static void test_not_mismatch(void **state)
{
	struct condition differs = { .mismatch = ASKED_TRUE };
	struct rule rule = { .not = &differs, .n_not = 1 };
	struct facts f = { .named = true };

	(void)state;
	assert_false(decide(&rule, 1, &f).final);
	f.settled = true;
	assert_ptr_equal(decide(&rule, 1, &f).rule, &rule);
	f.mismatch = true;
	assert_null(decide(&rule, 1, &f).rule);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_denies),	  cmocka_unit_test(test_first_match),
		cmocka_unit_test(test_conditions),	  cmocka_unit_test(test_dial_early),
		cmocka_unit_test(test_needs_address),	  cmocka_unit_test(test_words),
		cmocka_unit_test(test_mismatch),	  cmocka_unit_test(test_not_mismatch),
		cmocka_unit_test(test_against_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
