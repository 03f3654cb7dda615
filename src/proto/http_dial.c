/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A server for a request is taken from those that wait, or dialled.
 *
 * A request that went out on a connection that had waited may have met its end.  When nothing of
 * an answer has come, it is sent once more on a new connection, if doing it twice is doing it
 * once (RFC 9110 section 9.2.2) and it has no content.
 */
#include <errno.h>

#include "base/mem.h"
#include "core/own_ends.h"
#include "core/worker.h"
#include "proto/http_hub.h"

void hub_dial(struct hub *h, const struct plan *plan, bool young)
{
	struct flow *f = h->flow;

	h->origin = h->alone ? NULL : origin_take(f, plan, young);
	if (h->origin) {
		h->step = HUB_EXCHANGE;
		return;
	}
	h->step = HUB_DIAL;
	flow_serve_dial(f, plan);
}

void hub_dialled(struct hub *h, enum why outcome)
{
	struct flow *f = h->flow;

	if (outcome == WHY_OPEN) {
		h->origin = origin_adopt(f);
		outcome = h->origin ? WHY_OPEN : WHY_INTERNAL;
	}
	if (f->made) /* it had come as far as a socket */
		own_ends_del(f->worker->realm->own_ends, TAKE_PTR(f->made));
	if (outcome != WHY_OPEN) {
		if (outcome == WHY_DENIED || outcome == WHY_REJECTED)
			flow_announce(f);
		hub_fail(h, outcome, NULL);
		return;
	}
	flow_announce(f);
	h->step = HUB_EXCHANGE;
	if (h->alone)
		hub_shown_begin(h);
}

void hub_origin_failed(struct hub *h, int error)
{
	struct flow *f = h->flow;
	enum why why = error == -ETIMEDOUT ? WHY_SERVER_LOST : WHY_SERVER_RESET;
	bool again = h->retry && h->origin->reused && !h->reply.len && !h->begun;

	if (h->begun) {
		flow_close(f, why); /* the client must not take this for the whole */
		return;
	}
	if (!again) {
		hub_fail(h, why,
			 error ? NULL : "The server closed the connection without an answer");
		return;
	}
	origin_close(TAKE_PTR(h->origin), false);
	h->retry = false;
	h->up.len = 0;
	if (f->facts.target_name)
		f->facts.target = (struct addr){ .port = f->facts.target.port };
	if (!hub_send_up(h, buf_span(&h->again)))
		return;
	h->step = HUB_DIAL;
	flow_serve_dial(f, &f->decision.plan);
}
