/* SPDX-License-Identifier: Apache-2.0 */
#include "core/flow.h"
#include "learn/learn.h"
#include "sys/sock.h"

static enum learn_result tproxy_learn(struct flow *f, const struct learner *l, struct span look,
				      bool last)
{
	if (sock_local(f->client.fd, &f->facts.target) < 0) {
		f->why = WHY_NO_TARGET;
		return LEARN_FAILED;
	}
	return LEARN_DONE;
}

const struct learner_ops tproxy_learner_ops = { .name = "tproxy", .learn = tproxy_learn };
