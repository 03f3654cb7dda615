/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RULES_H
#define ENGINE_RULES_H

#include "core/policy.h"
#include "engine/config.h"
#include "engine/diag.h"
#include "engine/sets.h"
#include "engine/yaml.h"

/**
 * rules_compile() - the `rules` of a configuration as a policy
 * @node:	checked by the schema; NULL: none
 * @c:		its listeners are known already
 * @p:		empty; takes the rules and the sets they use
 *
 * What is wrong is noted in @d; the policy then is not to be used.
 */
void rules_compile(struct yaml_node *node, const struct config *c, struct sets *sets,
		   struct diag *d, struct policy *p);

#endif
