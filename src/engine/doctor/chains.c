/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Rules of nft and of iptables become the same short struct: what they ask as far as it matters
 * to interception, and what they do.  What is not understood only narrows.  Then each base chain
 * is flattened: a jump is replaced by the rules of its target, which inherit what the jump asks.
 * All questions are put to flat chains.  The number of flat rules is bounded: a set of rules that
 * is larger is cut, and what stands behind the cut is not seen.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/doctor/chains.h"

#define DEPTH_MAX 16
#define FLAT_MAX 50000

static void chain_free(struct fw_chain *c)
{
	for (size_t i = 0; i < c->n_rules; i++) {
		free(c->rules[i].text);
		free(c->rules[i].jump);
	}
	free(c->rules);
	free(c->flat);
	free(c->family);
	free(c->table);
	free(c->name);
	free(c);
}

void chains_free(struct chains *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		chain_free(c->all[i]);
	free(c->all);
	free(c);
}

/* Room for one more of @size bytes.  Return: 0 or -ENOMEM. */
static int make_room(void **array, size_t n, size_t *cap, size_t size)
{
	size_t wanted = *cap ? 2 * *cap : 16;
	void *grown;

	if (n < *cap)
		return 0;
	grown = reallocarray(*array, wanted, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*cap = wanted;
	return 0;
}

struct fw_chain *chains_add(struct chains *c, const char *family, const char *table,
			    const char *name)
{
	struct fw_chain *chain;

	if (make_room((void **)&c->all, c->n, &c->cap, sizeof(struct fw_chain *)) < 0)
		return NULL;
	chain = NEW0(struct fw_chain);
	if (!chain)
		return NULL;
	chain->family = strdup(family);
	chain->table = strdup(table);
	chain->name = strdup(name);
	if (!chain->family || !chain->table || !chain->name) {
		chain_free(chain);
		return NULL;
	}
	c->all[c->n++] = chain;
	return chain;
}

static uint32_t families_of(const char *family)
{
	return !strcmp(family, "ip")	? FAMILY_V4
	       : !strcmp(family, "ip6") ? FAMILY_V6
					: FAMILY_V4 | FAMILY_V6;
}

struct fw_rule *chain_add_rule(struct fw_chain *chain)
{
	struct fw_rule *r;

	if (make_room((void **)&chain->rules, chain->n_rules, &chain->cap_rules, sizeof(*r)) < 0)
		return NULL;
	r = &chain->rules[chain->n_rules++];
	*r = (struct fw_rule){
		.chain = chain,
		.own_chain = chain,
		.families = families_of(chain->family),
		.l4 = L4_ALL,
	};
	return r;
}

struct fw_chain *chains_find(const struct chains *c, const char *family, const char *iptables,
			     const char *table, const char *name)
{
	for (size_t i = 0; i < c->n; i++) {
		struct fw_chain *chain = c->all[i];

		if (!strcmp(chain->name, name) && !strcmp(chain->table, table) &&
		    !strcmp(chain->family, family) && chain->iptables == iptables)
			return chain;
	}
	return NULL;
}

/* @r asks what @jump asks, too. */
static void inherit(struct fw_rule *r, const struct fw_rule *jump)
{
	r->families &= jump->families;
	r->l4 &= jump->l4;
	if (!r->iif[0])
		memcpy(r->iif, jump->iif, sizeof(r->iif));
	for (size_t i = 0; i < jump->n_tests && r->n_tests < MARK_TESTS_MAX; i++)
		r->tests[r->n_tests++] = jump->tests[i];
	r->without_syn |= jump->without_syn;
	r->socket |= jump->socket;
	r->owner |= jump->owner;
	r->narrowed |= jump->narrowed;
}

/* What is jumped to may set the mark that the jumping rule's target needs. */
static void take_mark(struct fw_rule *r, const struct fw_chain *next)
{
	if (r->target == TARGET_NONE || r->mark_set || r->mark_copied)
		return;
	for (size_t i = 0; i < next->n_rules; i++) {
		const struct fw_rule *n = &next->rules[i];

		if (!(n->mark_set || n->mark_copied) || n->narrowed || n->n_tests || n->socket)
			continue;
		r->mark_set = n->mark_set;
		r->mark_copied = n->mark_copied;
		r->mark_value = n->mark_value;
		r->mark_mask = n->mark_mask;
		return;
	}
}

static int flatten(const struct chains *c, struct fw_chain *base, const struct fw_chain *chain,
		   const struct fw_rule *path, int depth)
{
	size_t begin = base->n_flat;

	for (size_t i = 0; i < chain->n_rules; i++) {
		const struct fw_chain *next = NULL;
		struct fw_rule *r;
		int error;

		if (base->n_flat >= FLAT_MAX)
			return 0;
		error = make_room((void **)&base->flat, base->n_flat, &base->cap_flat, sizeof(*r));
		if (error < 0)
			return error;
		r = &base->flat[base->n_flat++];
		*r = chain->rules[i];
		r->chain = base;
		if (path)
			inherit(r, path);
		if (r->end == END_JUMP)
			next = chains_find(c, chain->family, chain->iptables, chain->table,
					   r->jump);
		if (next && depth < DEPTH_MAX) {
			struct fw_rule jump;

			take_mark(r, next);
			jump = *r;
			error = flatten(c, base, next, &jump, depth + 1);
			if (error < 0)
				return error;
		}
	}
	for (size_t i = begin; i < base->n_flat; i++)
		if (!base->flat[i].scope_end)
			base->flat[i].scope_end = base->n_flat;
	return 0;
}

struct chains *chains_new(const struct host *h)
{
	static const char *const nft[HOST_FAMILIES] = { "iptables", "ip6tables" };
	static const char *const legacy[HOST_FAMILIES] = { "iptables-legacy", "ip6tables-legacy" };
	struct chains *c = NEW0(struct chains);
	int r = c ? 0 : -ENOMEM;

	for (int f = 0; f < HOST_FAMILIES && !r; f++) {
		r = chains_read_iptables(c, h->iptables[f], nft[f], f);
		if (!r)
			r = chains_read_iptables(c, h->legacy[f], legacy[f], f);
	}
	if (!r)
		r = chains_read_nft(c, h);
	for (size_t i = 0; !r && i < c->n; i++)
		if (c->all[i]->hook != HOOK_NONE)
			r = flatten(c, c->all[i], c->all[i], NULL, 0);
	if (!r)
		return c;
	chains_free(c);
	return NULL;
}

bool rule_takes_mark(const struct fw_rule *r, uint32_t mark)
{
	for (size_t i = 0; i < r->n_tests; i++)
		if (((mark & r->tests[i].mask) == r->tests[i].value) == r->tests[i].is_not)
			return false;
	return true;
}

bool rule_asks_mark(const struct fw_rule *r, uint32_t mark)
{
	return r->n_tests && rule_takes_mark(r, mark) && !rule_takes_mark(r, 0);
}

enum guard chain_guard(const struct fw_chain *chain, size_t i, uint32_t mark)
{
	const struct fw_rule *r = &chain->flat[i];
	enum guard found = r->owner ? GUARD_OWNER : GUARD_NONE;

	if (!rule_takes_mark(r, mark))
		return GUARD_MARK;
	for (size_t k = 0; k < i; k++) {
		const struct fw_rule *before = &chain->flat[k];

		if (before->end != END_ACCEPT &&
		    (before->end != END_RETURN || before->scope_end <= i))
			continue;
		if (!(before->families & r->families) || !(before->l4 & r->l4))
			continue;
		if (mark && rule_asks_mark(before, mark))
			return GUARD_MARK;
		if (before->owner)
			found = GUARD_OWNER;
	}
	return found;
}

const char *chain_text(const struct fw_chain *c, char dst[static CHAIN_TEXT_MAX])
{
	snprintf(dst, CHAIN_TEXT_MAX, "%s %s %s", c->iptables ? c->iptables : c->family, c->table,
		 c->name);
	return dst;
}
