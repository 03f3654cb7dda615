/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A target that is a name has several addresses.  Each is put to policy as
 * if the client had dialled it, and the one that answers becomes the target.
 */
#include "core/flow.h"
#include "core/listener.h"
#include "core/worker.h"

enum target_answer flow_ask_target(const struct flow *f, const struct addr *a, struct decision *ret)
{
	const struct realm *realm = f->worker->realm;
	struct facts facts = f->facts;

	facts.target = *a;
	policy_decide(f->snapshot->policy, &facts, ret);
	if (ret->final && ret->verdict != VERDICT_ACCEPT)
		return TARGET_REFUSED;
	if (listeners_include(realm->listeners, realm->n_listeners, a))
		return TARGET_LOOP;
	return ret->final || ret->dial_early ? TARGET_ACCEPTED : TARGET_OPEN;
}

void flow_set_target(struct flow *f, const struct addr *a, const struct plan *plan)
{
	f->facts.target = *a;
	f->plan = *plan;
	f->up.offload = f->down.offload = plan->offload;
}
