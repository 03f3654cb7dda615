/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of packets that a tproxy or a socket rule has marked: a policy rule has to send
 * them to a table in which everything is local.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/doctor/checks.h"
#include "engine/doctor/cure.h"

#define PRIORITY_MAIN 32766
#define TABLE_MAX 65535

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static uint32_t number_of(const json_t *o, const char *key, uint32_t fallback)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? (uint32_t)strtoul(s, NULL, 0) : fallback;
}

/* Is "default", or 0.0.0.0/0, or ::/0. */
static bool is_default(const json_t *route)
{
	const char *dst = text_of(route, "dst");

	return !strcmp(dst, "default") || strstr(dst, "/0");
}

static bool has_local_default(const struct examination *e, int family, const char *table)
{
	const json_t *routes = e->host->routes[family];

	for (size_t i = 0; i < json_array_size(routes); i++) {
		const json_t *r = json_array_get(routes, i);

		if (!strcmp(text_of(r, "table"), table) && is_default(r) &&
		    !strcmp(text_of(r, "type"), "local"))
			return true;
	}
	return false;
}

/* A route in @table that is not local: somebody else's. */
static const char *foreign_route(const struct examination *e, int family, const char *table)
{
	const json_t *routes = e->host->routes[family];

	for (size_t i = 0; i < json_array_size(routes); i++) {
		const json_t *r = json_array_get(routes, i);

		if (!strcmp(text_of(r, "table"), table) && strcmp(text_of(r, "type"), "local"))
			return text_of(r, "dst");
	}
	return NULL;
}

/* A table for us that nobody uses, or that already is as it should be. */
static unsigned int free_table(const struct examination *e, int family)
{
	unsigned int table = e->config->firewall.route_table;
	char text[16];

	for (; table < TABLE_MAX; table++) {
		snprintf(text, sizeof(text), "%u", table);
		if (!foreign_route(e, family, text))
			break;
	}
	return table;
}

/* Does the policy rule look up a table for any packet that has this mark, whatever else it is?
 * "iif lo" is said for what this host sends, and for what comes in again by lo. */
static bool takes(const json_t *rule, uint32_t mark, bool from_here)
{
	uint32_t mask = number_of(rule, "fwmask", UINT32_MAX);
	const char *iif = text_of(rule, "iif");

	return json_object_get(rule, "fwmark") && *text_of(rule, "table") &&
	       !json_object_get(rule, "not") && (mark & mask) == number_of(rule, "fwmark", 0) &&
	       !strcmp(text_of(rule, "src"), "all") && !json_object_get(rule, "dst") &&
	       (!*iif || (from_here && !strcmp(iif, "lo"))) && !json_object_get(rule, "oif");
}

static const json_t *rule_for(const struct examination *e, int family, uint32_t mark,
			      bool from_here)
{
	const json_t *rules = e->host->rules[family];

	for (size_t i = 0; i < json_array_size(rules); i++)
		if (takes(json_array_get(rules, i), mark, from_here))
			return json_array_get(rules, i);
	return NULL;
}

static long priority_of(const json_t *rule)
{
	return (long)json_integer_value(json_object_get(rule, "priority"));
}

static bool has_routes(const struct examination *e, int family, const char *table)
{
	const json_t *routes = e->host->routes[family];

	for (size_t i = 0; i < json_array_size(routes); i++) {
		const char *its = text_of(json_array_get(routes, i), "table");

		if (!strcmp(*its ? its : "main", table))
			return true;
	}
	return false;
}

/* Is it about some of what has a mark only, by something else than the mark? */
static bool is_narrowed(const json_t *rule)
{
	static const char *const keys[] = { "dst",	 "iif",		  "uid_start",
					    "ipproto",	 "sport",	  "dport",
					    "tos",	 "tun_id",	  "suppress_prefixlen",
					    "sport_start", "suppress_ifgroup", "dport_start" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (json_object_get(rule, keys[i]))
			return true;
	return strcmp(text_of(rule, "src"), "all") != 0;
}

/* May it look up what has @mark, and find something there? */
static bool may_take(const struct examination *e, int family, const json_t *rule, uint32_t mark,
		     bool from_here)
{
	const char *table = text_of(rule, "table"), *iif = text_of(rule, "iif");
	uint32_t mask = number_of(rule, "fwmask", UINT32_MAX);
	bool marked = !json_object_get(rule, "fwmark") ||
		      (mark & mask) == number_of(rule, "fwmark", 0);

	if (!*table || !strcmp(table, "local") || !has_routes(e, family, table) ||
	    json_object_get(rule, "oif"))
		return false;
	if (json_object_get(rule, "not"))
		return !marked || is_narrowed(rule);
	return marked && (!*iif || from_here == !strcmp(iif, "lo")) &&
	       (from_here || !json_object_get(rule, "uid_start"));
}

/* The first of others' rules that come before @ours and may take what has @mark; whether one of
 * them takes all of it. */
static const json_t *rule_before(const struct examination *e, int family, const json_t *ours,
				 uint32_t mark, bool from_here, bool *ret_all)
{
	const json_t *rules = e->host->rules[family], *r, *first = NULL;

	*ret_all = false;
	for (size_t i = 0; (r = json_array_get(rules, i)) != ours; i++) {
		if (!may_take(e, family, r, mark, from_here))
			continue;
		first = first ? first : r;
		*ret_all = *ret_all || !is_narrowed(r);
	}
	return first;
}

/* The rule by which the reverse look-up, as if from lo, goes past the one that delivers. */
static const json_t *rule_past(const struct examination *e, int family, uint32_t mark)
{
	const json_t *rules = e->host->rules[family];

	for (size_t i = 0; i < json_array_size(rules); i++) {
		const json_t *r = json_array_get(rules, i);

		if (json_object_get(r, "goto") && json_object_get(r, "fwmark") &&
		    !strcmp(text_of(r, "iif"), "lo") &&
		    (mark & number_of(r, "fwmask", UINT32_MAX)) == number_of(r, "fwmark", 0))
			return r;
	}
	return NULL;
}

bool routes_past_divert(const struct examination *e, int family)
{
	uint32_t value, mask;

	return find_divert_mark(e, family == HOST_V4 ? FAMILY_V4 : FAMILY_V6, &value, &mask) &&
	       rule_past(e, family, value);
}

/* "fwmark 0x1" or "fwmark 0x1/0xff" */
static const char *mark_text(uint32_t value, uint32_t mask, char *dst, size_t cap_bytes)
{
	if (mask == UINT32_MAX)
		snprintf(dst, cap_bytes, "fwmark 0x%x", value);
	else
		snprintf(dst, cap_bytes, "fwmark 0x%x/0x%x", value, mask);
	return dst;
}

/* The cure: the same again, before @other.  (A rule that is added without a priority comes before
 * all that are there, so one of somebody else's may do so at any time.) */
static void note_before(struct examination *e, int family, const json_t *ours, const json_t *other,
			enum finding_status status, const char *subject, uint32_t value,
			const char *mark)
{
	const char *ip = family == HOST_V4 ? "ip" : "ip -6";
	const json_t *past = rule_past(e, family, value);
	long priority = priority_of(other);
	char cure[512], first[256] = "";

	if (past)
		snprintf(first, sizeof(first), "%s rule add iif lo %s goto %ld priority %ld && ",
			 ip, mark, (long)json_integer_value(json_object_get(past, "goto")),
			 priority - 2);
	if (priority > 2)
		snprintf(cure, sizeof(cure), "%s%s rule add %s lookup %s priority %ld", first, ip,
			 mark, text_of(ours, "table"), priority - 1);
	else
		snprintf(cure, sizeof(cure), "give policy rule %ld a priority behind %ld", priority,
			 priority_of(ours));
	note(e, status, subject, cure,
	     "policy rule %ld comes before %ld: what it sends to table %s is not delivered here",
	     priority, priority_of(ours), text_of(other, "table"));
}

static void examine_mark(struct examination *e, int family, uint32_t value, uint32_t mask,
			 bool from_here)
{
	const char *ip = family == HOST_V4 ? "ip" : "ip -6", *table, *other;
	const json_t *rule = rule_for(e, family, value, from_here), *before;
	char cure[256], mark[48], subject[64];
	bool all;

	mark_text(value, mask, mark, sizeof(mark));
	snprintf(subject, sizeof(subject), "%s %s", family == HOST_V4 ? "IPv4" : "IPv6", mark);
	if (!rule) {
		snprintf(cure, sizeof(cure), "%s rule add %s lookup %u", ip, mark,
			 free_table(e, family));
		note(e, FINDING_FAIL, subject, cure,
		     "no policy rule: what is marked is not delivered here");
		return;
	}
	table = text_of(rule, "table");
	other = foreign_route(e, family, table);
	before = rule_before(e, family, rule, value, from_here, &all);
	if (!has_local_default(e, family, table) && other) {
		snprintf(cure, sizeof(cure), "%s rule add %s lookup %u priority %ld", ip, mark,
			 free_table(e, family), priority_of(rule) ? priority_of(rule) - 1 : 0);
		note(e, FINDING_FAIL, subject, cure,
		     "policy rule %ld sends it to table %s, which somebody else uses (route to %s)",
		     priority_of(rule), table, other);
	} else if (!has_local_default(e, family, table)) {
		snprintf(cure, sizeof(cure), "%s route add local default dev lo table %s", ip,
			 table);
		note(e, FINDING_FAIL, subject, cure,
		     "no local default route in table %s: what is marked is not delivered here",
		     table);
	} else if (priority_of(rule) >= PRIORITY_MAIN) {
		snprintf(cure, sizeof(cure), "%s rule add %s lookup %s priority 100", ip, mark,
			 table);
		note(e, FINDING_FAIL, subject, cure,
		     "policy rule %ld comes after the one of the main table", priority_of(rule));
	} else if (before) {
		note_before(e, family, rule, before, all ? FINDING_FAIL : FINDING_WARN, subject,
			    value, mark);
	} else if (other) {
		note(e, FINDING_WARN, subject, "",
		     "table %s has routes of somebody else, too (to %s)", table, other);
	} else {
		note(e, FINDING_OK, subject, "", "delivered here by table %s", table);
	}
}

/* Own connections must go where those of others go. */
static void examine_own_mark(struct examination *e, int family)
{
	const json_t *rule = e->config->mark ? rule_for(e, family, e->config->mark, true) : NULL;
	char subject[64], cure[512];

	if (!rule)
		return;
	snprintf(subject, sizeof(subject), "%s firewall.mark 0x%x",
		 family == HOST_V4 ? "IPv4" : "IPv6", e->config->mark);
	snprintf(cure, sizeof(cure), "choose another firewall.mark in %s", e->path);
	note(e, FINDING_FAIL, subject, cure,
	     "policy rule %ld sends limpid's own connections to table %s", priority_of(rule),
	     text_of(rule, "table"));
}

/* A rule before it may have set the mark; which one is not looked for. */
static void examine_without_mark(struct examination *e, const struct fw_chain *c, size_t i)
{
	char subject[CHAIN_TEXT_MAX], cure[CURE_MAX];

	for (size_t k = 0; k < i; k++)
		if ((c->flat[k].mark_set || c->flat[k].mark_copied) && !c->flat[k].socket)
			return;
	cure_mark(e->host, &c->flat[i], cure, sizeof(cure));
	note(e, FINDING_FAIL, chain_text(c, subject), cure,
	     "a tproxy rule sets no mark: what it takes is not delivered here, but forwarded");
}

#define MARKS_MAX 16

void check_policy_routing(struct examination *e)
{
	struct {
		uint32_t value, mask;
		int family;
	} seen[MARKS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; k < c->n_flat; k++) {
			const struct fw_rule *r = &c->flat[k];
			uint32_t value, mask;

			if (!rule_marks_for_us(e, c, k) &&
			    (r->target != TARGET_TPROXY || !rule_is_ours(e, r)))
				continue;
			if (!rule_divert_mark(r, &value, &mask)) {
				examine_without_mark(e, c, k);
				continue;
			}
			for (int f = 0; f < HOST_FAMILIES; f++) {
				bool known = !(r->families & e->families & 1u << f);

				for (size_t s = 0; s < n; s++)
					known |= seen[s].value == value && seen[s].mask == mask &&
						 seen[s].family == f;
				if (known || n == MARKS_MAX)
					continue;
				seen[n].value = value;
				seen[n].mask = mask;
				seen[n++].family = f;
				examine_mark(e, f, value, mask, c->hook == HOOK_OUTPUT);
			}
		}
	}
	for (int f = 0; f < HOST_FAMILIES; f++)
		if (e->families & 1u << f)
			examine_own_mark(e, f);
}

static bool has_default(const json_t *routes)
{
	for (size_t i = 0; i < json_array_size(routes); i++) {
		const json_t *r = json_array_get(routes, i);
		const char *table = text_of(r, "table"), *type = text_of(r, "type");

		if (is_default(r) && (!*table || !strcmp(table, "main")) &&
		    (!*type || !strcmp(type, "unicast")))
			return true;
	}
	return false;
}

/* Many a host has none for IPv6, and is well. */
void check_default_route(struct examination *e)
{
	if (!e->host->routes[HOST_V4] && !e->host->routes[HOST_V6])
		return;
	if (has_default(e->host->routes[HOST_V4]) || has_default(e->host->routes[HOST_V6]))
		note(e, FINDING_OK, "", "", "there");
	else
		note(e, FINDING_WARN, "", "ip route add default via GATEWAY",
		     "none: connections of this host to addresses without a route fail before "
		     "they are intercepted");
}
