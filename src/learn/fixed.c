/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "core/flow.h"
#include "learn/learn.h"

static enum learn_result fixed_learn(struct flow *f, const struct learner *l, struct span look,
				     bool last)
{
	f->facts.target = *(const struct addr *)l->conf;
	return LEARN_DONE;
}

static enum learn_result fixed_name_learn(struct flow *f, const struct learner *l,
					  struct span look, bool last)
{
	const struct fixed_name *conf = l->conf;

	f->facts.target.port = conf->port;
	f->facts.target_name = text_dup(span_str(conf->name));
	if (f->facts.target_name)
		return LEARN_DONE;
	f->why = WHY_INTERNAL;
	return LEARN_FAILED;
}

const struct learner_ops fixed_learner_ops = { .name = "fixed", .learn = fixed_learn };

const struct learner_ops fixed_name_learner_ops = {
	.name = "fixed",
	.learn = fixed_name_learn,
};
