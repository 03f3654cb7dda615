/* SPDX-License-Identifier: Apache-2.0 */
#include "core/flow.h"
#include "core/worker.h"
#include "learn/learn.h"

/* Whoever comes may ask for names, or end in order without; the proto reads it. */
static enum learn_result dns_learn(struct flow *f, const struct learner *l, struct span look,
				   bool last)
{
	(void)l;
	(void)look;
	(void)last;
	f->facts.protocol = PROTOCOL_DNS;
	flow_serve(f, f->worker->realm->parts.dns);
	return LEARN_DONE;
}

const struct learner_ops dns_learner_ops = { .name = "dns", .consumes = true, .learn = dns_learn };
