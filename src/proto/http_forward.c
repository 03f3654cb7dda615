/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A client of an HTTP proxy asks for one thing after another, each from a
 * server of its own choice: a hub of exchanges.  Requests are served in their order, one at a
 * time; what was sent ahead waits in the kernel.  http_request.c reads requests, asks policy
 * for each and gets a server; http_response.c brings the answer; this moves the bytes.
 *
 * Heads are written anew, never patched: what goes on is what was understood.  Content is read
 * off its framing in place and framed again for the other side; between the two it is plain
 * content, and that is where a filter will see it.  A direction reads only while nothing of it
 * waits to be written, so a hub holds one read of each at most.
 *
 * One read, one write each way: a head and the content that came with it leave together.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "core/http_exchange.h"
#include "core/listener.h"
#include "core/worker.h"
#include "proto/http.h"
#include "proto/http_hub.h"

/* Steps in a row before others get a turn. */
#define STEPS_MAX 32

struct http_out http_out_of(struct hub *h)
{
	struct lane_tools *t = &h->flow->worker->tools;

	return (struct http_out){ .data = t->buffer + HTTP_HALF(t), .cap = HTTP_HALF(t) };
}

/* Whoever writes has seen to the room: a head has its limit, and content what is left. */
void http_put(struct http_out *o, struct span s)
{
	if (s.len > o->cap - o->len)
		s.len = o->cap - o->len;
	if (s.len)
		memcpy(o->data + o->len, s.data, s.len);
	o->len += s.len;
}

void http_put_str(struct http_out *o, const char *s)
{
	http_put(o, span_str(s));
}

void http_put_fields(struct http_out *o, const struct http1_summary *s,
		     const struct http1_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!http1_goes_on(s, fields, n, i))
			continue;
		http_put(o, fields[i].name);
		http_put_str(o, ": ");
		http_put(o, fields[i].value);
		http_put_str(o, "\r\n");
	}
}

void http_put_content(struct http_out *o, struct span content, bool chunked)
{
	char line[HTTP1_CHUNK_LINE_CAP];

	if (!content.len)
		return;
	if (chunked)
		http_put(o, span_of(line, http1_chunk_line(content.len, line)));
	http_put(o, content);
	if (chunked)
		http_put_str(o, "\r\n");
}

void http_put_end(struct http_out *o, struct span trailers)
{
	struct http1_field fields[HTTP1_MAX_FIELDS];
	struct http1_summary s;
	int n = 0;

	http_put_str(o, "0\r\n");
	if (trailers.len > 2)
		n = http1_fields_parse(span_head(trailers, trailers.len - 2), false, fields,
				       HTTP1_MAX_FIELDS);
	/* those that cannot be understood are dropped, as all may be (RFC 9110 section 6.5.1) */
	if (n > 0 && http1_summary_read(fields, (size_t)n, &s) == 0)
		http_put_fields(o, &s, fields, (size_t)n);
	http_put_str(o, "\r\n");
}

/* Write, and keep what is not taken.  Return: 0 or -errno. */
static int send_or_keep(struct end *e, struct buf *rest, struct span s)
{
	while (!rest->len && s.len && e->writable) {
		ssize_t n = stream_write(e->top, s.data, s.len);

		if (n == -EAGAIN)
			break;
		if (n < 0)
			return (int)n;
		s = span_skip(s, (size_t)n);
	}
	return s.len ? buf_append(rest, s, HTTP_REST_MAX_BYTES) : 0;
}

/* Write what is kept.  Return: 0, nothing is; -EAGAIN; or another -errno. */
static int flush(struct end *e, struct buf *rest)
{
	while (rest->len) {
		ssize_t n;

		if (!e->writable)
			return -EAGAIN;
		n = stream_write(e->top, rest->data, rest->len);
		if (n < 0)
			return (int)n;
		buf_consume(rest, (size_t)n);
	}
	return stream_flush(e->top);
}

void hub_moved(struct hub *h, uint64_t n)
{
	struct worker *w = h->flow->worker;

	h->flow->active_ms = loop_now_ms(&w->loop);
	atomic_store_explicit(&w->moved, atomic_load_explicit(&w->moved, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

bool hub_send_down(struct hub *h, struct span s)
{
	int r = send_or_keep(&h->flow->client, &h->down, s);

	if (r < 0) {
		flow_close(h->flow,
			   r == -ENOMEM || r == -EMSGSIZE ? WHY_INTERNAL : WHY_CLIENT_RESET);
		return false;
	}
	hub_moved(h, s.len);
	return true;
}

/* What cannot be sent any more is forgotten; the server may have said why. */
void hub_up_dead(struct hub *h)
{
	buf_done(&h->up);
	h->up_over = true;
	h->origin_keep = false;
	if (!http1_body_is_empty(&h->up_body))
		h->keep = false; /* where the next request begins will not be known */
}

static bool send_up(struct hub *h, struct span s)
{
	int r = h->origin ? send_or_keep(&h->origin->end, &h->up, s)
			  : buf_append(&h->up, s, HTTP_REST_MAX_BYTES);

	if (r == -ENOMEM || r == -EMSGSIZE) {
		flow_close(h->flow, WHY_INTERNAL);
		return false;
	}
	hub_moved(h, s.len);
	if (r < 0)
		hub_up_dead(h);
	return r == 0;
}

bool hub_send_up(struct hub *h, struct span s)
{
	struct buf shown = { 0 };
	bool lives;

	if (!h->origin || !hub_is_shown(&h->flow->up))
		return send_up(h, s);
	lives = hub_show_up(h, s, &shown) && send_up(h, buf_span(&shown));
	buf_done(&shown);
	return lives;
}

/* What is known of the request before this one is not said of this one. */
static void forget_last(struct hub *h)
{
	struct flow *f = h->flow;
	struct facts *facts = &f->facts;

	if (!h->known) {
		free(facts->user);
		facts->user = NULL;
		h->login.len = 0;
	}
	if (!h->asked) {
		free(facts->target_name);
		free(facts->host);
		free(facts->learnt_name);
		facts->target_name = facts->host = facts->learnt_name = NULL;
		facts->target = (struct addr){ 0 };
		facts->mismatch = false;
		f->decision = (struct decision){ 0 };
		f->plan = (struct plan){ 0 };
	}
}

static void record(struct hub *h, enum why why)
{
	struct flow *f = h->flow;
	const struct observer *o = f->worker->realm->observer;
	struct span said = buf_span(&h->said);
	struct http_exchange x = {
		.method = span_head(said, h->method_bytes),
		.url = span_head(span_skip(said, h->method_bytes), h->url_bytes),
		.user_agent = span_skip(said, (size_t)h->method_bytes + h->url_bytes),
		.content_type = span_str(h->content_type),
		.status = h->status,
		.minor = h->minor,
		.start_us = h->start_us,
		.up_bytes = h->up_bytes,
		.down_bytes = h->down_bytes,
		.served = h->origin,
		.why = why,
	};

	if (h->said.len)
		forget_last(h);
	if (o->exchange && h->said.len)
		o->exchange(f->worker, f, &x);
	h->said.len = 0;
}

static void origin_drop(struct hub *h, bool orderly)
{
	if (h->origin)
		origin_close(h->origin, orderly);
	h->origin = NULL;
}

void hub_exchange_over(struct hub *h, enum why why)
{
	bool whole = h->up_over && !h->up.len && !h->reply.len;

	record(h, why);
	h->why = why;
	if (h->status != 101)
		hub_shown_end(h);
	hub_bulk_forget(h);
	if (h->origin && h->owns)
		h->origin->owner = h->flow->id;
	if (h->origin && h->origin_keep && whole && !h->alone)
		origin_give(TAKE_PTR(h->origin));
	else
		origin_drop(h, whole);
	if (!h->up_over && !http1_body_is_empty(&h->up_body))
		h->keep = false;
	buf_done(&h->up);
	buf_done(&h->reply);
	buf_done(&h->up_trailers);
	buf_done(&h->down_trailers);
	h->head_ms = 0;
	h->answered = false;
	h->step = h->keep && !h->client_end ? HUB_HEAD : HUB_LAST;
	if (h->client_end && h->keep && h->in.len)
		h->step = HUB_HEAD; /* what it had said before */
	h->hungry = false;
	h->scan = (struct http1_scan){ 0 };
}

bool hub_hold(struct hub *h, size_t n)
{
	struct flow *f = h->flow;
	uint64_t more = (uint64_t)n - h->held_bytes; /* or less: the sum is as wide */
	uint64_t sum;

	if (!more)
		return true;
	h->held_bytes = n;
	sum = atomic_fetch_add(&f->worker->realm->look_ahead_bytes, more) + more;
	if (!n || sum <= f->snapshot->limits.look_ahead_total_bytes)
		return true;
	flow_close(f, WHY_LIMIT);
	return false;
}

void hub_answer(struct hub *h, struct http_answer *a)
{
	char page[HTTP_ANSWER_CAP];
	struct span said = buf_span(&h->said);

	a->about = span_head(span_skip(said, h->method_bytes), h->url_bytes);
	a->no_body = a->no_body || h->no_content;
	if (!h->up_over || h->flow->worker->draining)
		h->keep = false;
	a->keep = h->keep;
	h->status = a->status;
	h->origin_keep = false;
	if (hub_send_down(h, span_of(page, http_answer_format(a, page))))
		hub_exchange_over(h, a->why);
}

void hub_fail(struct hub *h, enum why why, const char *text)
{
	struct http_answer a = { .status = http_answer_status(why), .why = why, .text = text };

	origin_drop(h, false);
	hub_answer(h, &a);
}

static bool hub_step(struct hub *h)
{
	struct flow *f = h->flow;
	bool more;

	switch (h->step) {
	case HUB_HEAD:
		return hub_request(h);
	case HUB_DIAL:
		return false;
	case HUB_EXCHANGE:
		if (h->answered && h->up_over && !h->up.len) {
			hub_exchange_over(h, WHY_FINISHED);
			return true;
		}
		more = hub_upload(h);
		if (flow_is_over(f) || f->proto_state != h || h->step != HUB_EXCHANGE)
			return true;
		return hub_download(h) || more;
	case HUB_LAST:
		if (!h->down.len)
			flow_farewell(f, h->why);
		return false;
	}
	return false;
}

static void forward_relay(struct flow *f)
{
	struct hub *h = f->proto_state;

	for (unsigned int i = 0; i < STEPS_MAX; i++) {
		size_t left = h->down.len + h->up.len;
		int r = flush(&f->client, &h->down);

		if (r < 0 && r != -EAGAIN) {
			flow_close(f, WHY_CLIENT_RESET);
			return;
		}
		r = h->origin ? flush(&h->origin->end, &h->up) : 0;
		if (r < 0 && r != -EAGAIN)
			hub_up_dead(h);
		if (h->down.len + h->up.len != left)
			f->active_ms = loop_now_ms(&f->worker->loop);
		if ((f->up.stirred || f->down.stirred) && !hub_let_leave(h))
			return;
		if (f->client.failed) {
			flow_close(f, WHY_CLIENT_RESET);
			return;
		}
		if (!hub_step(h))
			return;
		if (flow_is_over(f) || f->proto_state != h)
			return;
	}
	flow_defer(f);
}

/* How often to look whether anything is late. */
static void tick(struct flow *f)
{
	const struct timeouts *t = &f->snapshot->timeouts;

	flow_set_timer(f, t->idle_ms < t->keep_alive_ms ? t->idle_ms : t->keep_alive_ms);
}

static void forward_open(struct flow *f)
{
	struct hub *h = NEW0(struct hub);

	if (!h || buf_append(&h->in, buf_span(&f->look), SIZE_MAX) < 0) {
		free(h);
		flow_close(f, WHY_INTERNAL);
		return;
	}
	h->flow = f;
	h->keep = true;
	f->proto_state = h;
	f->up.bytes += f->look.len;
	flow_consume(f, f->look.len);
	f->facts.protocol = PROTOCOL_HTTP;
	f->facts.settled = true;
	tick(f);
}

static void forward_forget(struct flow *f)
{
	struct hub *h = f->proto_state;

	if (!h)
		return;
	f->proto_state = NULL;
	if (h->step == HUB_DIAL || h->step == HUB_EXCHANGE)
		record(h, f->why);
	(void)hub_hold(h, 0);
	hub_bulk_forget(h);
	origin_drop(h, false);
	origins_disown(f);
	buf_done(&h->in);
	buf_done(&h->up);
	buf_done(&h->down);
	buf_done(&h->again);
	buf_done(&h->reply);
	buf_done(&h->up_trailers);
	buf_done(&h->down_trailers);
	buf_done(&h->said);
	if (h->login.data)
		explicit_bzero(h->login.data, h->login.cap);
	buf_done(&h->login);
	free(h);
}

static void request_late(struct hub *h)
{
	struct http_answer a = {
		.status = 408,
		.why = WHY_IDLE,
		.error = "http_request_error",
		.text = "The request did not come in time",
	};

	if (h->step == HUB_HEAD)
		h->said.len = 0; /* was about the one before */
	h->keep = false;
	hub_answer(h, &a);
}

static void forward_timeout(struct flow *f)
{
	struct hub *h = f->proto_state;
	const struct timeouts *t = &f->snapshot->timeouts;
	bool partly = h->step == HUB_HEAD && h->head_ms;
	bool unsaid = h->down.len > 0; /* the client takes its time */
	uint64_t quiet_ms = loop_now_ms(&f->worker->loop) - (partly ? h->head_ms : f->active_ms);
	uint32_t limit_ms = h->step == HUB_EXCHANGE || unsaid ? t->idle_ms
			    : partly			      ? t->sniff_ms
							      : t->keep_alive_ms;

	if (f->login) { /* it is we who are late */
		tick(f);
		return;
	}
	if (quiet_ms < limit_ms) {
		limit_ms -= (uint32_t)quiet_ms;
		flow_set_timer(f, limit_ms < t->keep_alive_ms ? limit_ms : t->keep_alive_ms);
		return;
	}
	if (partly || (h->step == HUB_EXCHANGE && !h->begun && !h->up_over && !h->up.len)) {
		request_late(h);
	} else if (h->step == HUB_EXCHANGE && !h->begun) {
		hub_fail(h, WHY_IDLE, "The server did not answer in time");
	} else if (h->step == HUB_HEAD && !unsaid) {
		h->why = WHY_FINISHED;
		h->step = HUB_LAST;
	} else {
		flow_close(f, WHY_IDLE);
		return;
	}
	if (flow_is_over(f))
		return;
	tick(f);
	flow_defer(f);
}

static void forward_dialled(struct flow *f, enum why outcome)
{
	struct hub *h = f->proto_state;

	tick(f);
	hub_dialled(h, outcome);
	flow_defer(f);
}

const struct proto_ops http_forward_proto_ops = {
	.name = "http",
	.open = forward_open,
	.relay = forward_relay,
	.timeout = forward_timeout,
	.dialled = forward_dialled,
	.forget = forward_forget,
	.leave = origins_leave,
};
