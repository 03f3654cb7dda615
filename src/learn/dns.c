/* SPDX-License-Identifier: Apache-2.0 */
#include "core/flow.h"
#include "core/worker.h"
#include "learn/learn.h"

/* Whoever says something asks for names; the proto reads it. */
static enum learn_result dns_learn(struct flow *f, const struct learner *l, struct span look,
				   bool last)
{
	(void)l;
	f->facts.protocol = PROTOCOL_DNS;
	if (look.len) {
		flow_serve(f, f->worker->realm->parts.dns);
		return LEARN_DONE;
	}
	if (!last)
		return LEARN_MORE;
	f->why = WHY_CLIENT_GONE;
	return LEARN_FAILED;
}

const struct learner_ops dns_learner_ops = { .name = "dns", .consumes = true, .learn = dns_learn };
