/* SPDX-License-Identifier: Apache-2.0 */
/* Marks belong to all who write rules: who else uses ours, and who takes them off? */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "engine/doctor/checks.h"
#include "engine/doctor/cure.h"

#define RULE_TEXT_MAX 2048

bool rule_divert_mark(const struct fw_rule *r, uint32_t *ret_value, uint32_t *ret_mask)
{
	if (r->mark_set && r->mark_mask) {
		*ret_value = r->mark_value;
		*ret_mask = r->mark_mask;
		return true;
	}
	for (size_t i = 0; i < r->n_tests; i++)
		if (!r->tests[i].is_not && r->tests[i].value) {
			*ret_value = r->tests[i].value;
			*ret_mask = r->tests[i].mask;
			return true;
		}
	return false;
}

bool find_divert_mark(const struct examination *e, uint32_t families, uint32_t *ret_value,
		      uint32_t *ret_mask)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; c->hook == HOOK_PREROUTING && k < c->n_flat; k++)
			if (c->flat[k].target == TARGET_TPROXY && c->flat[k].families & families &&
			    rule_is_ours(e, &c->flat[k]) &&
			    rule_divert_mark(&c->flat[k], ret_value, ret_mask))
				return true;
	}
	return false;
}

bool rule_marks_for_us(const struct examination *e, const struct fw_chain *c, size_t i)
{
	const struct fw_rule *marks = &c->flat[i];
	uint32_t value, mask;

	if (c->hook != HOOK_OUTPUT || !marks->mark_set || !marks->mark_value || marks->socket ||
	    marks->mark_value == e->config->mark)
		return false;
	if (find_divert_mark(e, marks->families, &value, &mask) && value == marks->mark_value)
		return true;
	for (size_t k = 0; k < e->chains->n; k++) {
		const struct fw_chain *pre = e->chains->all[k];

		for (size_t m = 0; pre->hook == HOOK_PREROUTING && m < pre->n_flat; m++)
			if (pre->flat[m].target == TARGET_TPROXY &&
			    pre->flat[m].families & marks->families &&
			    rule_is_ours(e, &pre->flat[m]) &&
			    rule_asks_mark(&pre->flat[m], marks->mark_value))
				return true;
	}
	return false;
}

/* Somewhere in the same table there is a rule for one of our listeners. */
static bool table_is_ours(const struct examination *e, const struct fw_chain *like)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		if (c->iptables != like->iptables || strcmp(c->family, like->family) ||
		    strcmp(c->table, like->table))
			continue;
		for (size_t k = 0; k < c->n_rules; k++)
			if (rule_is_ours(e, &c->rules[k]))
				return true;
	}
	return false;
}

/* A mark that no rule asks for; 0: none found. */
static uint32_t free_mark(const struct examination *e)
{
	for (int bit = 27; bit >= 8; bit--) {
		uint32_t mark = 1u << bit;
		bool taken = false;

		for (size_t i = 0; i < e->chains->n && !taken; i++)
			for (size_t k = 0; k < e->chains->all[i]->n_rules && !taken; k++)
				taken = rule_asks_mark(&e->chains->all[i]->rules[k], mark);
		if (!taken)
			return mark;
	}
	return 0;
}

/* A rule of somebody else that takes our connections for its own. */
static bool examine_asked(struct examination *e, const struct fw_chain *c, const struct fw_rule *r)
{
	char subject[CHAIN_TEXT_MAX], cure[512];
	bool partial = false;

	for (size_t i = 0; i < r->n_tests; i++)
		partial |= r->tests[i].mask != UINT32_MAX && r->tests[i].value;
	if (!partial || !e->config->mark || !rule_asks_mark(r, e->config->mark))
		return false;
	snprintf(cure, sizeof(cure), "set firewall.mark in %s to 0x%x", e->path, free_mark(e));
	note(e, FINDING_WARN, chain_text(c, subject), cure,
	     "a rule asks for mark 0x%x/0x%x, which firewall.mark 0x%x has: it acts on limpid's "
	     "own connections",
	     r->tests[0].value, r->tests[0].mask, e->config->mark);
	return true;
}

/* A rule of somebody else that sets bits in which our mark is. */
static bool examine_set(struct examination *e, const struct fw_chain *c, const struct fw_rule *r,
			uint32_t value, uint32_t mask)
{
	char subject[CHAIN_TEXT_MAX], cure[512];

	if (r->socket || !(r->mark_mask & mask))
		return false;
	if (r->mark_set && (r->mark_value & mask) == value) {
		snprintf(cure, sizeof(cure),
			 "set firewall.divert-mark in %s, and use it in the rules", e->path);
		note(e, FINDING_WARN, chain_text(c, subject), cure,
		     "a rule sets mark 0x%x, too: what it marks is delivered here", value);
		return true;
	}
	snprintf(cure, sizeof(cure), "let that rule set other bits than 0x%x", mask);
	note(e, FINDING_WARN, chain_text(c, subject), cure,
	     "a rule sets bits 0x%x of the mark: where it matches, mark 0x%x is lost",
	     r->mark_mask & mask, value);
	return true;
}

/* One finding of each kind for a chain: such rules come in crowds. */
static void examine_chain(struct examination *e, const struct fw_chain *c, bool ours)
{
	bool sees = !ours && (c->hook == HOOK_PREROUTING || c->hook == HOOK_OUTPUT);
	bool asked = false, set = false;
	uint32_t value, mask;

	for (size_t k = 0; k < c->n_flat; k++) {
		const struct fw_rule *r = &c->flat[k];

		asked = asked || examine_asked(e, c, r);
		if (sees && !set && (r->mark_set || r->mark_copied) &&
		    find_divert_mark(e, r->families, &value, &mask))
			set = examine_set(e, c, r, value, mask);
	}
}

void check_marks(struct examination *e)
{
	size_t before = e->findings->n;

	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];
		bool ours = table_is_ours(e, c);

		if (c->hook != HOOK_NONE && (!ours || c->iptables))
			examine_chain(e, c, ours);
	}
	if (e->findings->n == before)
		note(e, FINDING_OK, "", "", "nobody else uses our marks");
}

static bool mentions(const struct examination *e, const struct fw_rule *r, const char *word)
{
	char text[RULE_TEXT_MAX];

	if (r->own_chain->iptables)
		return strcasestr(r->text, word);
	return strcasestr(host_rule_text(e->host, r->own_chain->family, r->own_chain->table, r->id,
					 text, sizeof(text)),
			  word);
}

/* Does a chain that stops what it does not know let pass what @ours sends to a listener by one
 * protocol? */
static bool lets_in_by(const struct examination *e, const struct fw_chain *c,
		       const struct fw_rule *ours, uint32_t l4)
{
	uint32_t value = 0, mask;
	char port[16];

	if (ours->target == TARGET_TPROXY)
		rule_divert_mark(ours, &value, &mask);
	snprintf(port, sizeof(port), "%u", ours->to.port);
	for (size_t i = 0; i < c->n_flat; i++) {
		const struct fw_rule *r = &c->flat[i];

		if (r->end != END_ACCEPT || !(r->families & ours->families) || !(r->l4 & l4))
			continue;
		if (!r->narrowed && !r->owner && !r->n_tests && strcmp(r->iif, "lo"))
			return true;
		if (ours->target == TARGET_TPROXY ? r->socket || (value && rule_asks_mark(r, value))
						  : mentions(e, r, port) || mentions(e, r, "dnat"))
			return true;
	}
	return false;
}

static bool lets_in(const struct examination *e, const struct fw_chain *c,
		    const struct fw_rule *ours, uint32_t l4)
{
	return (!(l4 & L4_TCP) || lets_in_by(e, c, ours, L4_TCP)) &&
	       (!(l4 & L4_UDP) || lets_in_by(e, c, ours, L4_UDP));
}

static bool stops_unknown(const struct fw_chain *c)
{
	for (size_t i = 0; i < c->n_rules; i++) {
		const struct fw_rule *r = &c->rules[i];

		if (r->end == END_DROP && !r->narrowed && !r->n_tests && !r->iif[0] && !r->owner &&
		    r->l4 == L4_ALL)
			return true;
	}
	return c->drops;
}

/* Let in by @l4 what has been redirected to @port. */
static void cure_port(const struct fw_chain *c, const char *l4, uint16_t port, char *cure,
		      size_t cap_bytes)
{
	snprintf(cure, cap_bytes,
		 c->iptables ? "%s -t %s -I %s -p %s --dport %u -j ACCEPT"
			     : "nft insert rule %s %s %s %s dport %u accept",
		 c->iptables ? c->iptables : c->family, c->table, c->name, l4, port);
}

static void examine_input(struct examination *e, const struct fw_chain *c,
			  const struct fw_rule *ours, uint32_t l4)
{
	char subject[CHAIN_TEXT_MAX], cure[CURE_MAX];

	chain_text(c, subject);
	if (lets_in(e, c, ours, l4)) {
		note(e, FINDING_OK, subject, "", "lets in what is intercepted");
		return;
	}
	if (ours->target == TARGET_TPROXY)
		cure_accept(c, ours, cure, sizeof(cure));
	else
		cure_port(c, l4 == L4_TCP ? "tcp" : "udp", ours->to.port, cure, sizeof(cure));
	note(e, FINDING_WARN, subject, cure,
	     "stops what it does not know, and knows nothing of what goes to %sport %u here",
	     l4 == L4_UDP ? "UDP " : "", ours->to.port);
}

#define INPUTS_MAX 32

/* What a chain of the hook input has been asked about: protocols, port. */
struct inputs {
	uint32_t keys[INPUTS_MAX];
	size_t n;
};

static bool inputs_add(struct inputs *seen, uint32_t l4, uint16_t port)
{
	uint32_t key = l4 << 16 | port;

	for (size_t i = 0; i < seen->n; i++)
		if (seen->keys[i] == key)
			return false;
	if (!l4 || seen->n == INPUTS_MAX)
		return false;
	seen->keys[seen->n++] = key;
	return true;
}

/* Is it a rule whose packets come to @in? */
static bool rule_leads_to(const struct examination *e, const struct fw_rule *r,
			  const struct fw_chain *in)
{
	return rule_is_ours(e, r) && r->families & e->families &&
	       (strcmp(in->family, "ip") != 0 || r->families & FAMILY_V4) &&
	       (strcmp(in->family, "ip6") != 0 || r->families & FAMILY_V6);
}

/* What TPROXY delivers is let in by its mark, all of it at once; REDIRECT's, by port. */
static void check_input_of(struct examination *e, const struct fw_chain *in)
{
	struct inputs seen = { .n = 0 };

	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; c->hook == HOOK_PREROUTING && k < c->n_flat; k++) {
			const struct fw_rule *r = &c->flat[k];
			uint32_t l4 = r->l4 & (L4_TCP | L4_UDP);

			if (!rule_leads_to(e, r, in))
				continue;
			if (r->target == TARGET_TPROXY) {
				if (inputs_add(&seen, l4, 0))
					examine_input(e, in, r, l4);
				continue;
			}
			if (inputs_add(&seen, l4 & L4_TCP, r->to.port))
				examine_input(e, in, r, L4_TCP);
			if (inputs_add(&seen, l4 & L4_UDP, r->to.port))
				examine_input(e, in, r, L4_UDP);
		}
	}
}

void check_input(struct examination *e)
{
	for (size_t i = 0; i < e->chains->n; i++)
		if (e->chains->all[i]->hook == HOOK_INPUT && stops_unknown(e->chains->all[i]))
			check_input_of(e, e->chains->all[i]);
}
