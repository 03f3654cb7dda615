/* SPDX-License-Identifier: Apache-2.0 */
#include "core/flow.h"
#include "learn/learn.h"
#include "sys/sock.h"

/* Without a translation conntrack answers ENOENT (or the socket's own address): the client
 * dialled the listener itself, which the core then refuses as a loop. */
static enum learn_result redirect_learn(struct flow *f, const struct learner *l,
					struct span look, bool last)
{
	struct addr *target = &f->facts.target;

	f->translated = !sock_original_target(f->client.fd, f->facts.client.family, target);
	if (!f->translated && sock_local(f->client.fd, target) < 0) {
		f->why = WHY_NO_TARGET;
		return LEARN_FAILED;
	}
	return LEARN_DONE;
}

const struct learner_ops redirect_learner_ops = { .name = "redirect", .learn = redirect_learn };
