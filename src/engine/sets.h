/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SETS_H
#define ENGINE_SETS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/policy.h"
#include "engine/diag.h"
#include "engine/yaml.h"

enum set_kind {
	SET_EMPTY, /* nothing decided it yet */
	SET_NETS,
	SET_NAMES,
};

/**
 * struct set - one set, under construction or done
 * @name:	NULL for one that a rule writes in place
 * @node:	what the configuration says, NULL for one in place
 * @kind:	decided by the first entry
 * @nets, @names: the entries; both exist, the one of the other kind stays empty
 * @shared:	a policy owns @nets and @names now
 * @used:	a rule or another set names it
 * @bad:	something is wrong with it and was said
 */
struct set {
	const char *name;
	struct yaml_node *node;
	enum set_kind kind;
	struct netset *nets;
	struct nameset *names;
	bool shared;
	bool used;
	bool bad;
	enum { SET_NEW, SET_OPEN, SET_DONE } state;
};

/* All sets of a configuration, ordered by name. */
struct sets {
	struct set *list;
	size_t n;
	struct diag *diag;
	const char *folder; /* relative paths of set files start here */
};

/**
 * sets_load() - compile the `sets` of a configuration
 * @node:	checked by the schema; NULL: none
 * @folder:	borrowed until sets_done()
 *
 * What is wrong is noted in @d; the result is always to be released.
 */
void sets_load(struct yaml_node *node, const char *folder, struct diag *d, struct sets *ret);

/* Note the sets that nobody named. */
void sets_check_used(struct sets *s);

void sets_done(struct sets *s);

/**
 * set_of() - the set of what a condition lists
 * @values:	scalar or list of scalars: entries and "$name"
 * @kind:	what the condition compares with
 * @p:		owns the result (a lone "$name" is shared, all else is merged)
 *
 * Return: the set, its @nets or @names valid as long as @p; NULL: wrong (noted).
 */
const struct set *set_of(struct sets *s, struct yaml_node *values, enum set_kind kind,
			 struct policy *p, struct set *ret);

#endif
