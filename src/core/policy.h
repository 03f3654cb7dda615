/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_POLICY_H
#define CORE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/nameset.h"
#include "base/netset.h"
#include "core/facts.h"

enum verdict {
	VERDICT_ACCEPT,
	VERDICT_DENY,	/* say nothing for as long as possible */
	VERDICT_REJECT, /* say so at once */
};

/* Which address the server sees. */
enum source {
	SOURCE_OWN,	     /* this host's */
	SOURCE_KEEP_ADDRESS, /* the client's, from a free port */
	SOURCE_KEEP,	     /* the client's ip:port */
};

/* How a lane with nobody watching moves its bytes. */
enum offload {
	OFFLOAD_AUTO,	/* copied while small, spliced while bulk */
	OFFLOAD_COPY,	/* always copied */
	OFFLOAD_SPLICE, /* always spliced */
};

/* A range of ports, both ends included. */
struct port_range {
	uint16_t first, last;
};

/* What is asked of a fact that holds or does not. */
enum asked {
	ASKED_NOTHING,
	ASKED_TRUE,
	ASKED_FALSE,
};

/**
 * struct condition - what one `match` or `not` mapping asks
 *
 * A NULL pointer, zero count or empty mask asks nothing.  All that is asked must hold
 * (and); within one, any value is enough (or).
 */
struct condition {
	const struct netset *source;
	const struct netset *destination;
	const struct nameset *domain;
	struct port_range *ports; /* of the destination */
	size_t n_ports;
	struct port_range *source_ports;
	size_t n_source_ports;
	uint16_t *listeners; /* indices */
	size_t n_listeners;
	char **users;
	size_t n_users;
	uint32_t networks;  /* 1 << enum network */
	uint32_t protocols; /* 1 << enum protocol */
	enum asked mismatch;
};

struct via;

/* What an accepted flow is to be.  Two rules dial alike when these are equal. */
struct plan {
	enum source source;
	enum offload offload;
	bool strict; /* refuse rather than fall back to another source address */
	uint8_t proxy_header; /* version of the PROXY protocol the server is told of the client in;
			       * 0: it is not */
	const struct via *via; /* the upstream proxy; NULL: none */
	bool bind; /* a client may also wait for the server to connect (facts.bind) */
};

struct rule {
	char *name;
	struct condition match;
	struct condition *not; /* none of these may hold; NULL if absent.  Each mapping of a
				* `not` list is one entry */
	size_t n_not;
	enum verdict verdict;
	struct plan plan;
};

/**
 * struct policy - ordered rules, compiled; immutable and shared by all threads
 *
 * Owns its rules and the sets they point to.
 */
struct policy {
	struct rule *rules;
	size_t n_rules;
	struct netset **netsets;
	size_t n_netsets;
	struct nameset **namesets;
	size_t n_namesets;
};

/**
 * struct decision - what the rules say about the facts known so far
 * @final:	no rule whose answer is still unknown stands before @rule: more facts cannot
 *		change the decision
 * @dial_early:	not @final, but every rule still possible accepts with the same plan, so the
 *		server may be dialled already
 * @needs_address: not @final, nor @dial_early, and the first rule still open waits for nothing
 *		but the address of the target's name: it must be resolved before more can be said
 * @rule:	the deciding rule, NULL for the implicit deny.  Only when @final
 * @verdict:	only when @final
 * @plan:	when @final and accepted, or @dial_early
 */
struct decision {
	bool final;
	bool dial_early;
	bool needs_address;
	const struct rule *rule;
	enum verdict verdict;
	struct plan plan;
};

/**
 * policy_decide() - first rule that matches; nothing matches: deny
 *
 * Conditions are three-valued (Kleene): unknown satisfies neither a condition nor its
 * negation.  With @f->settled an unknown condition counts as not satisfied and the result is
 * final, unless it is for the address of a name, which will be known once it has been asked
 * for.  No allocation, no lock.
 */
void policy_decide(const struct policy *p, const struct facts *f, struct decision *ret);

/* Does dialling by @a do what dialling by @b does? */
bool plan_eq(const struct plan *a, const struct plan *b);

void policy_free(struct policy *p);

/* Release what a rule owns (its sets are the policy's) and leave it empty. */
void rule_done(struct rule *rule);

const char *verdict_name(enum verdict v); /* "accept", "deny", "reject" */
const char *source_name(enum source s);	  /* "own", "keep-address", "keep" */
const char *offload_name(enum offload o); /* "auto", "copy", "splice" */

#endif
