/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A target that is a name has several addresses.  Each is put to policy as
 * if the client had dialled it, and the one that answers becomes the target.
 */
#include <errno.h>

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

enum why flow_why_not_dialled(const struct flow *f, int error)
{
	switch (-error) {
	case ECONNREFUSED:
	case ECONNRESET:
		return WHY_SERVER_REFUSED;
	case ETIMEDOUT:
		return WHY_CONNECT_TIMEOUT;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return WHY_LIMIT;
	case EADDRINUSE:
	case EADDRNOTAVAIL:
		return f->plan.strict ? WHY_SOURCE : WHY_LIMIT;
	case EINVAL: /* also an address that needs a link, as fe80::1 */
	case EPERM:  /* also a firewall on this host that drops our SYN */
		return f->plan.strict ? WHY_SOURCE : WHY_SERVER_UNREACHABLE;
	case ELOOP:
		return WHY_LOOP;
	case ECANCELED:
		return f->why;
	default:
		return WHY_SERVER_UNREACHABLE;
	}
}
