/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A condition is the conjunction of what it asks; each question has one of three answers, and
 * the conjunction is Kleene's: one FALSE makes it FALSE whatever is unknown, else one UNKNOWN
 * makes it UNKNOWN.  A rule is its match and not any of its nots.  Because an answer that is
 * TRUE or FALSE stays so whatever is learnt later, the first rule that is TRUE with no UNKNOWN
 * rule before it is the decision for good; an UNKNOWN rule before it keeps the decision open.
 *
 * While it is open, what can still happen is: one of the UNKNOWN rules up to the first TRUE one,
 * that TRUE one, or, when there is none, the implicit deny.  Only when all of these are the same
 * accept may somebody dial already.
 *
 * A target that is a name has no address yet.  The name is asked for only when the first open
 * rule cannot be answered in another way: what a rule about ports or names refuses causes no
 * query.
 *
 * Questions are asked in the order of their cost: masks first, sets last.
 */
#include <stdlib.h>
#include <string.h>

#include "core/policy.h"

enum answer {
	ANSWER_FALSE,
	ANSWER_UNKNOWN,
	ANSWER_TRUE,
};

static enum answer answer_of(bool b)
{
	return b ? ANSWER_TRUE : ANSWER_FALSE;
}

static bool ports_contain(const struct port_range *ranges, size_t n, uint16_t port)
{
	for (size_t i = 0; i < n; i++)
		if (port >= ranges[i].first && port <= ranges[i].last)
			return true;
	return false;
}

static bool listeners_contain(const struct condition *c, uint16_t listener)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i] == listener)
			return true;
	return false;
}

static bool users_contain(const struct condition *c, const char *user)
{
	for (size_t i = 0; user && i < c->n_users; i++)
		if (!strcmp(c->users[i], user))
			return true;
	return false;
}

/* What never is unknown: who logs in does so before policy is asked. */
static bool condition_known(const struct condition *c, const struct facts *f)
{
	if (c->networks && !(c->networks & 1u << f->network))
		return false;
	if (c->n_listeners && !listeners_contain(c, f->listener))
		return false;
	if (c->n_source_ports && !ports_contain(c->source_ports, c->n_source_ports, f->client.port))
		return false;
	if (c->n_users && !users_contain(c, f->user))
		return false;
	return !c->source || netset_contains(c->source, &f->client);
}

static enum answer condition_target(const struct condition *c, const struct facts *f)
{
	if (!c->n_ports && !c->destination)
		return ANSWER_TRUE;
	if (!f->target.family && !f->target_name)
		return ANSWER_UNKNOWN;
	if (c->n_ports && !ports_contain(c->ports, c->n_ports, f->target.port))
		return ANSWER_FALSE;
	if (!c->destination)
		return ANSWER_TRUE;
	if (!f->target.family)
		return ANSWER_UNKNOWN;
	return answer_of(netset_contains(c->destination, &f->target));
}

static enum answer condition_protocol(const struct condition *c, const struct facts *f)
{
	if (!c->protocols)
		return ANSWER_TRUE;
	if (f->protocol == PROTOCOL_UNKNOWN)
		return ANSWER_UNKNOWN;
	return answer_of(c->protocols & 1u << f->protocol);
}

/*
 * The name that is dialled counts as well as the name that is said later.  A client that speaks
 * nothing we know will not name a host; that is no answer, unless it named its target, or was told
 * the target's address for a name.
 */
static enum answer condition_domain(const struct condition *c, const struct facts *f)
{
	if (!c->domain)
		return ANSWER_TRUE;
	if (f->target_name && nameset_contains(c->domain, f->target_name))
		return ANSWER_TRUE;
	if (!f->host && f->settled && f->learnt_name)
		return answer_of(nameset_contains(c->domain, f->learnt_name));
	if (!f->host)
		return f->target_name && f->settled ? ANSWER_FALSE : ANSWER_UNKNOWN;
	return answer_of(nameset_contains(c->domain, f->host));
}

/* Not known before the client has spoken to the server, if it has asked for a name at all. */
static enum answer condition_mismatch(const struct condition *c, const struct facts *f)
{
	bool known = f->mismatch || !f->named || f->settled || f->protocol != PROTOCOL_UNKNOWN;

	if (c->mismatch == ASKED_NOTHING)
		return ANSWER_TRUE;
	return known ? answer_of(f->mismatch == (c->mismatch == ASKED_TRUE)) : ANSWER_UNKNOWN;
}

static enum answer condition_answer(const struct condition *c, const struct facts *f)
{
	enum answer all, one;

	if (!condition_known(c, f))
		return ANSWER_FALSE;
	all = condition_target(c, f);
	if (all == ANSWER_FALSE)
		return all;
	one = condition_protocol(c, f);
	if (one == ANSWER_FALSE)
		return one;
	if (one < all)
		all = one;
	one = condition_mismatch(c, f);
	if (one < all)
		all = one;
	one = condition_domain(c, f);
	return one < all ? one : all;
}

static enum answer rule_answer(const struct rule *rule, const struct facts *f)
{
	enum answer all = condition_answer(&rule->match, f);

	for (size_t i = 0; i < rule->n_not && all != ANSWER_FALSE; i++) {
		enum answer negated = ANSWER_TRUE - condition_answer(&rule->not [i], f);

		if (negated < all)
			all = negated;
	}
	return all;
}

/* Does @c, which is not false, wait for what the client has still to say? */
static bool condition_needs_client(const struct condition *c, const struct facts *f)
{
	return condition_protocol(c, f) == ANSWER_UNKNOWN ||
	       condition_mismatch(c, f) == ANSWER_UNKNOWN ||
	       condition_domain(c, f) == ANSWER_UNKNOWN;
}

/* Would the address of the target's name, and nothing else, give @rule its answer? */
static bool rule_needs_address(const struct rule *rule, const struct facts *f)
{
	if (!facts_lack_address(f))
		return false;
	if (condition_answer(&rule->match, f) == ANSWER_UNKNOWN &&
	    condition_needs_client(&rule->match, f))
		return false;
	for (size_t i = 0; i < rule->n_not; i++)
		if (condition_answer(&rule->not [i], f) == ANSWER_UNKNOWN &&
		    condition_needs_client(&rule->not [i], f))
			return false;
	return true;
}

/* .bind is not about dialling. */
bool plan_eq(const struct plan *a, const struct plan *b)
{
	return a->source == b->source && a->offload == b->offload && a->strict == b->strict &&
	       a->proxy_header == b->proxy_header && a->via == b->via;
}

/* @rule may still decide, and so may @first. */
static bool outcome_alike(const struct rule *first, const struct rule *rule)
{
	return rule->verdict == VERDICT_ACCEPT && first->verdict == VERDICT_ACCEPT &&
	       plan_eq(&first->plan, &rule->plan);
}

static void decide_final(const struct rule *rule, struct decision *ret)
{
	*ret = (struct decision){ .final = true, .rule = rule, .verdict = VERDICT_DENY };
	if (!rule)
		return;
	ret->verdict = rule->verdict;
	if (rule->verdict == VERDICT_ACCEPT)
		ret->plan = rule->plan;
}

void policy_decide(const struct policy *p, const struct facts *f, struct decision *ret)
{
	const struct rule *open = NULL; /* the first rule whose answer is unknown */
	const struct rule *hit = NULL;	/* the first rule that matches */
	bool alike = true;		/* all that may still decide accept, with one plan */

	for (size_t i = 0; i < p->n_rules && !hit && alike; i++) {
		const struct rule *rule = &p->rules[i];
		enum answer a = rule_answer(rule, f);

		if (a == ANSWER_FALSE ||
		    (a == ANSWER_UNKNOWN && f->settled && !rule_needs_address(rule, f)))
			continue;
		if (a == ANSWER_TRUE)
			hit = rule;
		else if (!open)
			open = rule;
		if (open)
			alike = alike && outcome_alike(open, rule);
	}
	if (!open) {
		decide_final(hit, ret);
		return;
	}
	*ret = (struct decision){ .dial_early = alike && hit, .verdict = VERDICT_DENY };
	if (ret->dial_early)
		ret->plan = hit->plan;
	else
		ret->needs_address = rule_needs_address(open, f);
}

static void condition_done(struct condition *c)
{
	free(c->ports);
	free(c->source_ports);
	free(c->listeners);
	for (size_t i = 0; i < c->n_users; i++)
		free(c->users[i]);
	free(c->users);
}

void rule_done(struct rule *rule)
{
	condition_done(&rule->match);
	for (size_t i = 0; i < rule->n_not; i++)
		condition_done(&rule->not [i]);
	free(rule->not );
	free(rule->name);
	*rule = (struct rule){ 0 };
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_rules; i++)
		rule_done(&p->rules[i]);
	for (size_t i = 0; i < p->n_netsets; i++)
		netset_free(p->netsets[i]);
	for (size_t i = 0; i < p->n_namesets; i++)
		nameset_free(p->namesets[i]);
	free(p->rules);
	free(p->netsets);
	free(p->namesets);
	free(p);
}

const char *verdict_name(enum verdict v)
{
	switch (v) {
	case VERDICT_ACCEPT:
		return "accept";
	case VERDICT_DENY:
		return "deny";
	case VERDICT_REJECT:
		return "reject";
	}
	return "?";
}

const char *source_name(enum source s)
{
	switch (s) {
	case SOURCE_OWN:
		return "own";
	case SOURCE_KEEP_ADDRESS:
		return "keep-address";
	case SOURCE_KEEP:
		return "keep";
	}
	return "?";
}

const char *offload_name(enum offload o)
{
	switch (o) {
	case OFFLOAD_AUTO:
		return "auto";
	case OFFLOAD_COPY:
		return "copy";
	case OFFLOAD_SPLICE:
		return "splice";
	}
	return "?";
}
