/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A client of an HTTP proxy has no connection to one server, so interceptors
 * see each of its exchanges as if it were a flow: they are asked when the server is there, and
 * their filters go when the answer has been given.  The filters hang in the flow's lanes, which
 * carry nothing here; lane_show() puts the bytes through them.
 *
 * They stand between limpid and the server.  The request is shown as it is sent, the answer as it
 * came, before it is read: what goes on to the client is what was understood, whoever made it.
 * What a server is sent instead of a request may end elsewhere than limpid thinks, so its
 * connection is for this exchange alone.
 */
#include <errno.h>

#include "core/worker.h"
#include "proto/http_hub.h"

bool hub_is_shown(const struct lane *l)
{
	return !list_empty(&l->filters);
}

/* Return: true, or the flow has ended for the reason that is @r. */
static bool went(struct hub *h, int r)
{
	if (r < 0)
		flow_close(h->flow, r == -ECONNABORTED ? WHY_FILTER
				    : r == -EMSGSIZE   ? WHY_HELD
						       : WHY_INTERNAL);
	return r >= 0;
}

bool hub_show_up(struct hub *h, struct span s, struct buf *out)
{
	/* the end comes with the last bytes; what follows a request to go on with another
	 * protocol is still to be shown */
	return went(h, lane_show(&h->flow->up, s, s.len && h->up_over && !h->upgrade, out));
}

bool hub_show_down(struct hub *h, struct span s, bool end, struct buf *out)
{
	h->down_ended = h->down_ended || end;
	return went(h, lane_show(&h->flow->down, s, end, out));
}

bool hub_shown_begin(struct hub *h)
{
	struct flow *f = h->flow;
	struct buf up = h->up;
	bool lives;

	h->down_ended = false;
	if (flow_intercept(f) < 0) {
		flow_close(f, WHY_FILTER);
		return false;
	}
	h->up = (struct buf){ 0 }; /* written before there was a server */
	lives = !up.len || hub_send_up(h, buf_span(&up));
	buf_done(&up);
	return lives;
}

void hub_shown_end(struct hub *h)
{
	struct flow *f = h->flow;
	struct buf late = { 0 }; /* too late for more */

	if (hub_is_shown(&f->up) && h->upgrade && h->why == WHY_FINISHED) /* it does not go on */
		(void)lane_show(&f->up, span_of(NULL, 0), true, &late);
	if (hub_is_shown(&f->down) && !h->down_ended && h->why == WHY_FINISHED)
		(void)lane_show(&f->down, span_of(NULL, 0), true, &late);
	buf_done(&late);
	lane_drop_filters(&f->up);
	lane_drop_filters(&f->down);
	f->up.stirred = f->down.stirred = false;
}
