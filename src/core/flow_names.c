/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  DNS over TCP that passes (RFC 7766), to port 53 only: a filter in each lane
 * that lets all through as it comes and looks at copies.  Upwards it notes what the client asks,
 * downwards it learns from the answers to that.  Both stand next to the client, so they see what
 * the client says and is given, whatever interceptors make of it; an answer has been learnt from
 * before the client has it.
 *
 * Of a message that comes in parts only what is looked at is kept, and only until it is whole: of a
 * query its question, of an answer all, if there is a question at all (a zone transfer is many
 * messages, of which the first is the answer).  Such copies count as bytes that are looked at
 * ahead (limits.look-ahead-total), of which they take at most half: nobody is turned away for
 * what is only overheard.  Where that is reached, where memory is missing, or what is said turns
 * out not to be DNS, both filters leave, and the lanes may splice.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "codec/dns.h"
#include "codec/dns_frames.h"
#include "core/filter.h"
#include "core/flow.h"
#include "core/names.h"
#include "core/worker.h"

#define PORT_DNS 53
#define QUERY_LOOK_BYTES (DNS_HEADER_BYTES + 255 + 4) /* a name at its longest, type and class */

struct ear {
	struct filter filter;
	struct overhearing *of;
	struct dns_frames frames;
	bool gone;
};

/* @kept_bytes: of both, as counted in the realm */
struct overhearing {
	struct flow *flow;
	struct questions questions;
	struct ear up, down;
	size_t kept_bytes;
};

/* Return: false, it is too much. */
static bool count_kept(struct overhearing *o)
{
	struct worker *w = o->flow->worker;
	size_t before = o->kept_bytes;

	o->kept_bytes = o->up.frames.kept.len + o->down.frames.kept.len;
	if (o->kept_bytes <= before) {
		if (o->kept_bytes < before)
			atomic_fetch_sub(&w->realm->look_ahead_bytes, before - o->kept_bytes);
		return true;
	}
	return atomic_fetch_add(&w->realm->look_ahead_bytes, o->kept_bytes - before) <=
	       o->flow->snapshot->limits.look_ahead_total_bytes / 2;
}

static void stop(struct overhearing *o)
{
	buf_done(&o->up.frames.kept);
	buf_done(&o->down.frames.kept);
	questions_done(&o->questions);
	(void)count_kept(o);
	o->up.filter.leave = o->down.filter.leave = true;
	o->flow->up.stirred = o->flow->down.stirred = true;
	flow_defer(o->flow);
}

static enum filter_verdict hear_client(struct filter *f, struct span in, bool end, struct buf *out)
{
	struct ear *e = container_of(f, struct ear, filter);
	struct overhearing *o = e->of;
	enum codec_result r;
	struct span query;

	while ((r = dns_frames_next(&e->frames, &in, QUERY_LOOK_BYTES, &query)) == CODEC_DONE)
		names_asked(o->flow->worker->realm->names, &o->questions, query);
	if (r == CODEC_BAD || !count_kept(o))
		stop(o);
	return FILTER_PASS;
}

static enum filter_verdict hear_server(struct filter *f, struct span in, bool end, struct buf *out)
{
	struct ear *e = container_of(f, struct ear, filter);
	struct overhearing *o = e->of;
	const struct facts *facts = &o->flow->facts;
	struct worker *w = o->flow->worker;
	enum codec_result r;
	struct span answer;

	while ((r = dns_frames_next(&e->frames, &in, o->questions.n ? UINT16_MAX : 0, &answer)) ==
	       CODEC_DONE)
		names_answered(w->realm->names, &o->questions,
			       names_client(&facts->client, facts->inside), answer,
			       loop_now_ms(&w->loop));
	if (r == CODEC_BAD || !count_kept(o))
		stop(o);
	return FILTER_PASS;
}

static void ear_free(struct filter *f)
{
	struct ear *e = container_of(f, struct ear, filter);
	struct overhearing *o = e->of;

	e->gone = true;
	buf_done(&e->frames.kept);
	(void)count_kept(o);
	if (!o->up.gone || !o->down.gone)
		return;
	questions_done(&o->questions);
	free(o);
}

static const struct filter_ops client_ops = {
	.name = "names",
	.data = hear_client,
	.free = ear_free,
};

static const struct filter_ops server_ops = {
	.name = "names",
	.data = hear_server,
	.free = ear_free,
};

void flow_hear_names(struct flow *f)
{
	struct overhearing *o;

	if (f->facts.target.port != PORT_DNS || !names_learns(f->worker->realm->names))
		return;
	o = NEW0(struct overhearing);
	if (!o)
		return;
	o->flow = f;
	o->up = (struct ear){ .filter.ops = &client_ops, .of = o };
	o->down = (struct ear){ .filter.ops = &server_ops, .of = o };
	list_add_tail(&f->up.filters, &o->up.filter.link);
	list_add_tail(&f->down.filters, &o->down.filter.link);
}
