/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  What a server says is read, understood, and written anew for the client.
 * Content whose length is known goes on as it is; content that ends with the server's connection
 * becomes chunks for a client of HTTP/1.1, so that its own connection can go on and a broken end
 * does not look like a whole one.
 *
 * Before the client has been told a status, what goes wrong becomes a page (502, 504); afterwards
 * its connection is reset, which is how it learns that something is missing.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "core/worker.h"
#include "proto/http_hub.h"

static void bad_answer(struct hub *h)
{
	struct http_answer a = {
		.status = 502,
		.why = WHY_SERVER_RESET,
		.error = "http_protocol_error",
		.text = "The server's answer is no valid HTTP",
	};

	if (h->begun)
		flow_close(h->flow, WHY_SERVER_RESET);
	else
		hub_answer(h, &a);
}

static void put_framing(struct hub *h, struct http_out *o, const struct http1_response *r,
			const struct http1_summary *s)
{
	char text[64];

	if (h->down_body.framing == HTTP1_LENGTH) {
		snprintf(text, sizeof(text), "Content-Length: %llu\r\n",
			 (unsigned long long)h->down_body.left);
		http_put_str(o, text);
	} else if (h->down_chunked) {
		http_put_str(o, "Transfer-Encoding: chunked\r\n");
	} else if (s->n[HTTP1_CONTENT_LENGTH] && r->status != 204 && r->status >= 200) {
		/* of what is not sent: HEAD, 304 */
		http_put_str(o, "Content-Length: ");
		http_put(o, s->first[HTTP1_CONTENT_LENGTH]);
		http_put_str(o, "\r\n");
	}
}

/* An answer that goes on has one (RFC 9110 section 6.6.1); formatting it takes longer than most. */
static void put_date(struct hub *h, struct http_out *o)
{
	time_t now_s = time(NULL);

	if (now_s != h->date_s)
		http_date_format(h->date);
	h->date_s = now_s;
	http_put_str(o, h->date);
}

static void put_head(struct hub *h, struct http_out *o, const struct http1_response *r,
		     const struct http1_summary *s)
{
	char text[32];

	snprintf(text, sizeof(text), "HTTP/1.1 %u ", r->status);
	http_put_str(o, text);
	http_put(o, r->reason);
	http_put_str(o, "\r\n");
	http_put_fields(o, s, r->fields, r->n_fields);
	put_framing(h, o, r, s);
	if (!s->n[HTTP1_DATE] && r->status >= 200)
		put_date(h, o);
	if (r->status == 101)
		http_put_str(o, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	else if (!h->keep && r->status >= 200)
		http_put_str(o, "Connection: close\r\n");
	http_put_str(o, r->minor ? "Via: 1.1 limpid\r\n\r\n" : "Via: 1.0 limpid\r\n\r\n");
}

/* 101: the exchange has become a tunnel, and the flow one like any other. */
static void become_raw(struct hub *h, struct span rest)
{
	struct flow *f = h->flow;
	struct origin *o = TAKE_PTR(h->origin);
	struct buf in = h->in;
	int error = 0, r = 0;

	h->in = (struct buf){ 0 };
	hub_exchange_over(h, WHY_FINISHED);
	if (h->down.len)
		r = buf_append(&f->down.rest, buf_span(&h->down), SIZE_MAX);
	if (r == 0) /* what is left has been shown to whoever looks */
		r = buf_append(&f->down.rest, rest, SIZE_MAX);
	f->proto->forget(f);
	if (r < 0 || origin_return(o, f) < 0) {
		buf_done(&in);
		flow_close(f, WHY_INTERNAL);
		return;
	}
	f->served = false;
	f->up.paused = f->down.paused = false;
	f->proto = f->worker->realm->parts.proto;
	f->up.bytes -= in.len;				 /* they have been counted */
	(void)lane_offer(&f->up, buf_span(&in), &error); /* a dead end is noticed by its socket */
	buf_done(&in);
	f->proto->open(f);
	flow_defer(f);
}

/* Can the server's connection be used again? */
static bool goes_on(const struct hub *h, const struct http1_response *r,
		    const struct http1_summary *s)
{
	return h->down_body.framing != HTTP1_TO_THE_END && !s->close && (r->minor || s->keep_alive);
}

/* A head is there.  False: the answer is bad. */
static bool head_take(struct hub *h, const struct http1_response *r, struct http1_summary *s)
{
	if (http1_summary_read(r->fields, r->n_fields, s) < 0 ||
	    http1_response_body(s, r->minor, r->status, h->no_content, &h->down_body) < 0)
		return false;
	if (r->status == 101 && (!h->upgrade || s->n[HTTP1_UPGRADE] != 1 || !s->upgrade ||
				 !http1_word_is(s->first[HTTP1_UPGRADE], "websocket")))
		return false;
	if (r->status == 100)
		h->expects = false;
	if (r->status < 200 && r->status != 101)
		return true;
	h->status = r->status;
	h->origin_keep = goes_on(h, r, s);
	h->down_options = s->options;
	h->down_chunked = h->minor && (h->down_body.framing == HTTP1_CHUNKED ||
				       h->down_body.framing == HTTP1_TO_THE_END);
	/* What is left of the request nobody wants, or it may not come at all. */
	if (!h->minor || h->flow->worker->draining ||
	    (!h->up_over && (h->expects || !h->origin_keep)))
		h->keep = false;
	snprintf(h->content_type, sizeof(h->content_type), "%.*s",
		 (int)span_head(s->first[HTTP1_CONTENT_TYPE], sizeof(h->content_type)).len,
		 (const char *)s->first[HTTP1_CONTENT_TYPE].data);
	h->begun = true;
	return true;
}

/* Heads at the beginning of @bytes, into @o: those of interim answers, and the one that counts.
 * Return: bytes used; -ECANCELED, the flow has ended; or -EINVAL. */
static ssize_t heads_read(struct hub *h, struct http_out *o, const uint8_t *bytes, size_t len)
{
	struct http1_response r;
	struct http1_summary s;
	size_t used = 0;

	while (!h->begun && used < len) {
		switch (http1_response_parse(&h->scanned, span_of(bytes + used, len - used),
					     HTTP_HEAD_MAX_BYTES, &r)) {
		case CODEC_MORE:
			return (ssize_t)used;
		case CODEC_OTHER:
		case CODEC_BAD:
			return -EINVAL;
		case CODEC_DONE:
			break;
		}
		h->scanned = 0;
		if (!head_take(h, &r, &s))
			return -EINVAL;
		used += r.head_bytes;
		if (h->begun || h->minor) /* HTTP/1.0 knows no interim answers */
			put_head(h, o, &r, &s);
		if (h->begun || o->len <= o->cap / 4) /* there is room for the next */
			continue;
		if (!hub_send_down(h, span_of(o->data, o->len)))
			return -ECANCELED;
		o->len = 0;
	}
	return (ssize_t)used;
}

/* Content, from @bytes on, into @o (when there is something in it, or it is framed) or straight to
 * the client.  False: the flow has ended, or the answer is bad. */
static bool content_read(struct hub *h, struct http_out *o, uint8_t *bytes, size_t len)
{
	size_t used, content;
	struct span trailers;
	enum codec_result r =
		http1_body_read(&h->down_body, bytes, len, &used, &content, &trailers);
	struct span direct = span_of(bytes, content);

	if (r == CODEC_BAD ||
	    (trailers.len && !h->down_options &&
	     buf_append(&h->down_trailers, trailers, HTTP1_TRAILERS_MAX_BYTES) < 0)) {
		bad_answer(h);
		return false;
	}
	h->down_bytes += content;
	/* each trailer may grow by a space */
	if (o->len + content + HTTP1_CHUNK_LINE_CAP + trailers.len + HTTP1_MAX_FIELDS < o->cap &&
	    (o->len || h->down_chunked)) {
		http_put_content(o, direct, h->down_chunked);
		direct.len = 0;
	} else if (h->down_chunked) { /* larger than what is left behind the head */
		char line[HTTP1_CHUNK_LINE_CAP];

		http_put(o, span_of(line, http1_chunk_line(content, line)));
	}
	if (r == CODEC_DONE && h->down_chunked && !direct.len)
		http_put_end(o, buf_span(&h->down_trailers));
	if (!hub_send_down(h, span_of(o->data, o->len)) || !hub_send_down(h, direct))
		return false;
	if (direct.len && h->down_chunked) {
		o->len = 0;
		http_put_str(o, "\r\n");
		if (r == CODEC_DONE)
			http_put_end(o, buf_span(&h->down_trailers));
		if (!hub_send_down(h, span_of(o->data, o->len)))
			return false;
	}
	if (r != CODEC_DONE)
		return true;
	if (used < len) /* more than was asked for */
		h->origin_keep = false;
	h->answered = h->keep && h->origin_keep && !h->up_over;
	if (!h->answered)
		hub_exchange_over(h, WHY_FINISHED);
	return true;
}

/* The server says nothing more. */
static void server_ended(struct hub *h)
{
	struct http_out o = http_out_of(h);

	if (!h->begun || h->down_body.framing != HTTP1_TO_THE_END) {
		hub_origin_failed(h, 0);
		return;
	}
	if (h->down_chunked) {
		http_put_end(&o, span_of(NULL, 0));
		if (!hub_send_down(h, span_of(o.data, o.len)))
			return;
	}
	h->origin_keep = false;
	hub_exchange_over(h, WHY_FINISHED);
}

/* @bytes is what there is of the answer.  Returns what of it has been used. */
static size_t answer_read(struct hub *h, uint8_t *bytes, size_t len)
{
	struct http_out o = http_out_of(h);
	ssize_t used = heads_read(h, &o, bytes, len);

	if (used == -ECANCELED)
		return len;
	if (used < 0) {
		bad_answer(h);
		return len;
	}
	if (!h->begun) {
		if (o.len)
			hub_send_down(h, span_of(o.data, o.len));
		return (size_t)used;
	}
	if (h->status == 101) {
		if (hub_send_down(h, span_of(o.data, o.len)))
			become_raw(h, span_of(bytes + used, len - (size_t)used));
		return len;
	}
	content_read(h, &o, bytes + used, len - (size_t)used);
	return len;
}

/* More of a head that has come in pieces. */
static void answer_piece(struct hub *h, const uint8_t *bytes, size_t n)
{
	struct flow *f = h->flow;
	struct buf reply;
	size_t used;

	if (buf_append(&h->reply, span_of(bytes, n), SIZE_MAX) < 0) {
		flow_close(f, WHY_INTERNAL);
		return;
	}
	reply = h->reply;
	h->reply = (struct buf){ 0 };
	used = answer_read(h, reply.data, reply.len);
	if (flow_is_over(f) || f->proto_state != h || used == reply.len) {
		buf_done(&reply);
		return;
	}
	buf_consume(&reply, used);
	h->reply = reply;
}

/* More of the answer has come. */
static void answer_take(struct hub *h, uint8_t *bytes, size_t n)
{
	struct flow *f = h->flow;
	size_t used;

	if (h->reply.len) {
		answer_piece(h, bytes, n);
		return;
	}
	used = answer_read(h, bytes, n);
	if (!flow_is_over(f) && f->proto_state == h && used < n &&
	    buf_append(&h->reply, span_of(bytes + used, n - used), SIZE_MAX) < 0)
		flow_close(f, WHY_INTERNAL);
}

/* The same once those who look have seen it.  False: the exchange is over. */
static bool answer_show(struct hub *h, struct span s, bool end)
{
	struct flow *f = h->flow;
	struct buf shown = { 0 };

	if (hub_show_down(h, s, end, &shown) && shown.len)
		answer_take(h, shown.data, shown.len);
	buf_done(&shown);
	return !flow_is_over(f) && f->proto_state == h && h->step == HUB_EXCHANGE;
}

bool hub_let_leave(struct hub *h)
{
	const struct span nothing = { 0 };
	struct flow *f = h->flow;

	if (h->step != HUB_EXCHANGE || !h->origin)
		return true;
	if (f->up.stirred && hub_is_shown(&f->up) && !hub_send_up(h, nothing) && flow_is_over(f))
		return false;
	if (f->down.stirred && hub_is_shown(&f->down) && !h->down.len)
		answer_show(h, nothing, false);
	return !flow_is_over(f) && f->proto_state == h;
}

bool hub_download(struct hub *h)
{
	struct flow *f = h->flow;
	struct lane_tools *t = &f->worker->tools;
	struct end *e = &h->origin->end;
	bool shown = hub_is_shown(&f->down);
	ssize_t n;

	if (h->down.len || hub_bulk_down(h) || !end_can_read(e))
		return false;
	n = stream_read(e->top, t->buffer, HTTP_HALF(t));
	if (n == -EAGAIN)
		return false;
	if (h->answered) { /* it closes, or says what nobody asked for */
		hub_up_dead(h);
		return true;
	}
	if (n < 0)
		hub_origin_failed(h, (int)n);
	else if (!n && (!shown || answer_show(h, span_of(NULL, 0), true)))
		server_ended(h);
	if (n <= 0)
		return true;
	f->down.bytes += (uint64_t)n;
	f->active_ms = loop_now_ms(&f->worker->loop);
	if (shown)
		answer_show(h, span_of(t->buffer, (size_t)n), false);
	else
		answer_take(h, t->buffer, (size_t)n);
	return true;
}
