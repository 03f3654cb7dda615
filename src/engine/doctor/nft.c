/* SPDX-License-Identifier: Apache-2.0 */
/* What `nft -j list ruleset` says (libnftables-json(5)) as chains. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/doctor/chains.h"

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* The member of @o at a path of keys; NULL: none. */
static const json_t *at(const json_t *o, const char *a, const char *b)
{
	return json_object_get(json_object_get(o, a), b);
}

static bool is_word(const json_t *o, const char *word)
{
	return json_is_string(o) && !strcmp(json_string_value(o), word);
}

static bool is_mark(const json_t *o)
{
	return is_word(at(o, "meta", "key"), "mark");
}

static enum chain_hook hook_of(const char *name)
{
	static const char *const names[] = {
		[HOOK_PREROUTING] = "prerouting",   [HOOK_INPUT] = "input",
		[HOOK_FORWARD] = "forward",	    [HOOK_OUTPUT] = "output",
		[HOOK_POSTROUTING] = "postrouting",
	};

	for (size_t i = 1; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return (enum chain_hook)i;
	return HOOK_NONE;
}

static uint32_t l4_of(const char *name)
{
	if (!strcmp(name, "tcp"))
		return L4_TCP;
	if (!strcmp(name, "udp"))
		return L4_UDP;
	return strncmp(name, "icmp", 4) && strcmp(name, "ipv6-icmp") ? L4_OTHER : L4_ICMP;
}

/* L4_... of a word or of a set of words. */
static uint32_t l4_of_all(const json_t *right)
{
	const json_t *set = json_object_get(right, "set");
	uint32_t all = 0;

	if (json_is_string(right))
		return l4_of(json_string_value(right));
	for (size_t i = 0; i < json_array_size(set); i++) {
		const char *word = json_string_value(json_array_get(set, i));

		all |= word ? l4_of(word) : L4_OTHER;
	}
	return all ? all : L4_ALL;
}

/* Does a list of TCP flags, or one of them, contain SYN? */
static bool names_syn(const json_t *o)
{
	if (is_word(o, "syn"))
		return true;
	if (json_object_get(o, "|"))
		o = json_object_get(o, "|");
	for (size_t i = 0; i < json_array_size(o); i++)
		if (names_syn(json_array_get(o, i)))
			return true;
	return false;
}

/* Is @o the field of a header?  Notes what the header implies. */
static bool match_payload(struct fw_rule *r, const json_t *o)
{
	const char *protocol = text_of(json_object_get(o, "payload"), "protocol");

	if (!json_object_get(o, "payload"))
		return false;
	r->narrowed = true;
	if (!strcmp(protocol, "ip"))
		r->families &= FAMILY_V4;
	else if (!strcmp(protocol, "ip6"))
		r->families &= FAMILY_V6;
	else if (strcmp(protocol, "th"))
		r->l4 &= l4_of(protocol);
	return true;
}

static void match_mark(struct fw_rule *r, const json_t *right, uint32_t mask, bool is_not)
{
	if (!json_is_integer(right) || r->n_tests == MARK_TESTS_MAX) {
		r->narrowed = true;
		return;
	}
	r->tests[r->n_tests++] = (struct mark_test){ .value = (uint32_t)json_integer_value(right),
						     .mask = mask,
						     .is_not = is_not };
}

static void match_meta(struct fw_rule *r, const char *key, const json_t *right, bool is_not)
{
	if (!strcmp(key, "mark"))
		match_mark(r, right, UINT32_MAX, is_not);
	else if (!strcmp(key, "nfproto") && !is_not && json_is_string(right))
		r->families &= is_word(right, "ipv6") ? FAMILY_V6 : FAMILY_V4;
	else if (!strcmp(key, "l4proto") && !is_not)
		r->l4 &= l4_of_all(right);
	else if ((!strcmp(key, "iifname") || !strcmp(key, "iif")) && !is_not &&
		 json_is_string(right))
		snprintf(r->iif, sizeof(r->iif), "%s", json_string_value(right));
	else if (!strcmp(key, "skuid") || !strcmp(key, "skgid") || !strcmp(key, "cgroup"))
		r->owner = true;
	else
		r->narrowed = true;
}

/* left & number, left & flags */
static void match_bits(struct fw_rule *r, const json_t *pair, const json_t *right, bool is_not)
{
	const json_t *left = json_array_get(pair, 0), *mask = json_array_get(pair, 1);

	if (is_mark(left) && json_is_integer(mask)) {
		match_mark(r, right, (uint32_t)json_integer_value(mask), is_not);
		return;
	}
	if (match_payload(r, left) && is_word(at(left, "payload", "field"), "flags")) {
		r->narrowed = false;
		r->without_syn = names_syn(mask) && names_syn(right) == is_not;
	}
	r->narrowed |= !r->without_syn;
}

static void match(struct fw_rule *r, const json_t *m)
{
	const json_t *left = json_object_get(m, "left"), *right = json_object_get(m, "right");
	bool is_not = !strcmp(text_of(m, "op"), "!="), narrowed = r->narrowed;

	if (json_object_get(left, "meta")) {
		match_meta(r, text_of(json_object_get(left, "meta"), "key"), right, is_not);
	} else if (json_object_get(left, "&")) {
		match_bits(r, json_object_get(left, "&"), right, is_not);
		r->narrowed |= narrowed;
	} else if (is_word(at(left, "socket", "key"), "transparent")) {
		r->socket = true;
	} else if (is_word(at(left, "socket", "key"), "cgroupv2")) {
		r->owner = true;
	} else if (!match_payload(r, left)) {
		r->narrowed = true;
	}
}

static void set_mark(struct fw_rule *r, const json_t *value)
{
	const json_t * or = json_object_get(value, "|"), *and = NULL;
	uint32_t keep = 0, add = 0;
	bool known = true;

	if (json_is_integer(value)) {
		add = (uint32_t)json_integer_value(value);
	} else {
		const json_t *inner = or ? json_array_get(or, 0) : value;

		if (or)
			add = (uint32_t)json_integer_value(json_array_get(or, 1));
		and = json_object_get(inner, "&");
		keep = and? (uint32_t)json_integer_value(json_array_get(and, 1)) : UINT32_MAX;
		known = is_mark(and? json_array_get(and, 0) : inner) && (or || and);
	}
	r->mark_set = known;
	r->mark_copied = !known;
	r->mark_value = add;
	r->mark_mask = known ? ~keep | add : UINT32_MAX;
}

static void set_target(struct fw_rule *r, enum rule_target target, const json_t *t)
{
	const char *family = text_of(t, "family"), *ip = text_of(t, "addr");
	struct addr to = { 0 };

	r->target = target;
	if (!strcmp(family, "ip"))
		r->families &= FAMILY_V4;
	else if (!strcmp(family, "ip6"))
		r->families &= FAMILY_V6;
	if (*ip && addr_parse_ip(ip, &to) < 0)
		to = (struct addr){ 0 };
	to.port = (uint16_t)json_integer_value(json_object_get(t, "port"));
	r->to = to;
}

/* Return: does the statement say what becomes of the packet? */
static bool set_end(struct fw_rule *r, const char *key, const json_t *value)
{
	if (!strcmp(key, "accept"))
		r->end = END_ACCEPT;
	else if (!strcmp(key, "drop") || !strcmp(key, "reject"))
		r->end = END_DROP;
	else if (!strcmp(key, "return"))
		r->end = END_RETURN;
	else if (!strcmp(key, "jump") || !strcmp(key, "goto"))
		r->end = END_JUMP;
	else
		return false;
	if (r->end == END_JUMP) {
		free(r->jump);
		r->jump = strdup(text_of(value, "target"));
	}
	return true;
}

/* A map of verdicts: its jumps become rules of their own.  Return: 0 or -ENOMEM. */
static int add_vmap(struct fw_chain *chain, const json_t *vmap)
{
	const json_t *set = at(vmap, "data", "set");
	struct fw_rule like = chain->rules[chain->n_rules - 1];

	for (size_t i = 0; i < json_array_size(set); i++) {
		json_t *verdict = json_array_get(json_array_get(set, i), 1);
		const char *key;
		json_t *value;

		json_object_foreach(verdict, key, value)
		{
			struct fw_rule *r = chain_add_rule(chain);

			if (!r)
				return -ENOMEM;
			*r = like;
			r->jump = NULL;
			r->narrowed = true;
			set_end(r, key, value);
		}
	}
	return 0;
}

static int add_statement(struct chains *c, struct fw_chain *chain, const char *key,
			 const json_t *value)
{
	struct fw_rule *r = &chain->rules[chain->n_rules - 1];

	if (!strcmp(key, "match")) {
		match(r, value);
	} else if (!strcmp(key, "mangle")) {
		if (is_mark(json_object_get(value, "key")))
			set_mark(r, json_object_get(value, "value"));
	} else if (!strcmp(key, "tproxy")) {
		set_target(r, TARGET_TPROXY, value);
	} else if (!strcmp(key, "redirect")) {
		set_target(r, TARGET_REDIRECT, value);
	} else if (!strcmp(key, "dnat")) {
		set_target(r, TARGET_DNAT, value);
	} else if (!strcmp(key, "snat") || !strcmp(key, "masquerade")) {
		set_target(r, TARGET_SNAT, value);
	} else if (!strcmp(key, "queue")) {
		r->target = TARGET_QUEUE;
		r->to.port = (uint16_t)json_integer_value(json_object_get(value, "num"));
	} else if (!strcmp(key, "xt")) {
		c->opaque = true;
		r->narrowed = true;
	} else if (!strcmp(key, "limit")) {
		r->narrowed = true;
	} else if (!strcmp(key, "vmap")) {
		return add_vmap(chain, value);
	} else {
		set_end(r, key, value);
	}
	return 0;
}

/* Tables that iptables-save has told about, and in more detail. */
static bool known_by_iptables(const struct chains *c, const char *family, const char *table)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->all[i]->iptables && !strstr(c->all[i]->iptables, "legacy") &&
		    !strcmp(c->all[i]->family, family) && !strcmp(c->all[i]->table, table))
			return true;
	return false;
}

static int read_chain(struct chains *c, const json_t *o)
{
	const char *family = text_of(o, "family"), *table = text_of(o, "table");
	struct fw_chain *chain;

	if (known_by_iptables(c, family, table) || !strcmp(family, "arp") ||
	    !strcmp(family, "bridge") || !strcmp(family, "netdev"))
		return 0;
	chain = chains_add(c, family, table, text_of(o, "name"));
	if (!chain)
		return -ENOMEM;
	chain->hook = hook_of(text_of(o, "hook"));
	chain->priority = (int)json_integer_value(json_object_get(o, "prio"));
	chain->drops = !strcmp(text_of(o, "policy"), "drop");
	return 0;
}

static int read_rule(struct chains *c, const json_t *o)
{
	const json_t *statements = json_object_get(o, "expr");
	struct fw_chain *chain = chains_find(c, text_of(o, "family"), NULL, text_of(o, "table"),
					     text_of(o, "chain"));
	struct fw_rule *r;

	if (!chain)
		return 0;
	r = chain_add_rule(chain);
	if (!r)
		return -ENOMEM;
	r->id = (long)json_integer_value(json_object_get(o, "handle"));
	for (size_t i = 0; i < json_array_size(statements); i++) {
		json_t *statement = json_array_get(statements, i), *value;
		const char *key;

		json_object_foreach(statement, key, value) if (add_statement(c, chain, key, value) <
							       0) return -ENOMEM;
	}
	return 0;
}

int chains_read_nft(struct chains *c, const struct host *h)
{
	const json_t *all = json_object_get(h->nft, "nftables");

	/* Chains first: a jump may stand before its target. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < json_array_size(all); i++) {
			const json_t *o = json_array_get(all, i);
			const json_t *part = json_object_get(o, pass ? "rule" : "chain");

			if (part && (pass ? read_rule(c, part) : read_chain(c, part)) < 0)
				return -ENOMEM;
		}
	return 0;
}
