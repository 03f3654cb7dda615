/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A client's connection carries any number of queries, each with its length
 * in front; answers go back as they come, in whatever order (RFC 7766 section 6.2.1.1).  While
 * QUERIES_MAX wait for servers, or the client does not read its answers, nothing more is read.
 * The connection ends in order once the client has said that it is done and has all its
 * answers, or when nothing has happened for timeouts.dns.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/flow.h"
#include "proto/dns_desk.h"
#include "sys/sock.h"

#define QUERIES_MAX 64
#define UNREAD_MAX_BYTES ((size_t)256 << 10)
#define LENGTH_BYTES 2
#define IN_MAX_BYTES (LENGTH_BYTES + UINT16_MAX)

/**
 * struct dns_stream - proto_state of a served flow
 * @asks:	its queries that servers have been asked
 * @in:		what has come and is no whole query yet
 * @ended:	the client has sent FIN
 */
struct dns_stream {
	struct flow *flow;
	struct list asks;
	unsigned int n_asks;
	struct buf in;
	bool ended, running;
};

void dns_stream_asks(struct dns_stream *s, struct dns_ask *a)
{
	list_add_tail(&s->asks, &a->stream_link);
	s->n_asks++;
}

void dns_stream_forget(struct dns_stream *s, struct dns_ask *a)
{
	list_del(&a->stream_link);
	s->n_asks--;
}

void dns_stream_answer(struct dns_stream *s, struct span answer)
{
	struct flow *f = s->flow;
	uint8_t length[LENGTH_BYTES] = { (uint8_t)(answer.len >> 8), (uint8_t)answer.len };

	if (flow_is_closed(f))
		return;
	f->active_ms = loop_now_ms(&f->worker->loop);
	if (flow_reply(f, span_of(length, sizeof(length))) < 0 || flow_reply(f, answer) < 0)
		flow_close(f, WHY_CLIENT_RESET);
	else if (!s->running)
		flow_defer(f); /* there may be room for more queries, or nothing left to do */
}

static bool is_full(const struct dns_stream *s)
{
	return s->n_asks >= QUERIES_MAX || s->flow->down.rest.len >= UNREAD_MAX_BYTES;
}

/* Deal with what has come.  False: it is no DNS. */
static bool stream_take(struct dns_stream *s)
{
	struct flow *f = s->flow;
	struct dns_client c = {
		.from = f->facts.client,
		.to = f->facts.target,
		.listener = f->listener->index,
		.listener_name = f->listener->name,
		.stream = s,
	};

	if (f->facts.proxy)
		c.sender = f->facts.proxy->sender;

	while (!flow_is_closed(f) && s->in.len >= LENGTH_BYTES && !is_full(s)) {
		size_t len = (size_t)(s->in.data[0] << 8 | s->in.data[1]);

		if (len < DNS_HEADER_BYTES)
			return false;
		if (s->in.len < LENGTH_BYTES + len)
			break;
		f->active_ms = loop_now_ms(&f->worker->loop); /* not each byte: some drip */
		dns_query(f->worker->dns, &c, span_of(s->in.data + LENGTH_BYTES, len));
		if (flow_is_closed(f)) /* and with it what we look at */
			break;
		buf_consume(&s->in, LENGTH_BYTES + len);
	}
	return true;
}

/* More of what the client says.  False: nothing now, or the flow has ended. */
static bool stream_read_on(struct dns_stream *s)
{
	struct flow *f = s->flow;
	struct lane_tools *t = &f->worker->tools;
	size_t room = IN_MAX_BYTES - s->in.len;
	ssize_t n;

	if (s->ended || is_full(s) || !end_can_read(&f->client))
		return false;
	n = stream_read(f->client.top, t->buffer, room < t->buffer_bytes ? room : t->buffer_bytes);
	if (n == -EAGAIN)
		return false;
	if (n < 0) {
		flow_close(f, n == -ETIMEDOUT ? WHY_CLIENT_LOST : WHY_CLIENT_RESET);
		return false;
	}
	s->ended = !n;
	if (n && buf_append(&s->in, span_of(t->buffer, (size_t)n), IN_MAX_BYTES) < 0) {
		flow_close(f, WHY_INTERNAL);
		return false;
	}
	return true;
}

static void dns_relay(struct flow *f)
{
	struct dns_stream *s = f->proto_state;
	int error = 0;

	s->running = true;
	if (lane_pump(&f->down, &f->worker->tools, 0, &error) == LANE_WRITE_FAILED) {
		flow_close(f, WHY_CLIENT_RESET);
		return;
	}
	do {
		if (!stream_take(s)) {
			flow_close(f, WHY_GREETING);
			return;
		}
	} while (!flow_is_closed(f) && stream_read_on(s));
	if (flow_is_closed(f))
		return;
	s->running = false;
	if (s->ended && !s->n_asks && lane_is_drained(&f->down) && !f->down.finished) {
		lane_finish(&f->down);
		flow_close(f, WHY_FINISHED);
	}
}

static void dns_timeout(struct flow *f)
{
	const struct dns_stream *s = f->proto_state;
	uint64_t quiet_ms = loop_now_ms(&f->worker->loop) - f->active_ms;
	uint32_t limit_ms = f->snapshot->timeouts.dns_ms;

	if (s->n_asks)
		flow_set_timer(f, limit_ms); /* they have time-outs of their own */
	else if (quiet_ms >= limit_ms)
		flow_close(f, lane_is_drained(&f->down) ? WHY_FINISHED : WHY_IDLE);
	else
		flow_set_timer(f, (uint32_t)(limit_ms - quiet_ms));
}

static void dns_open(struct flow *f)
{
	struct dns_stream *s = NEW0(struct dns_stream);

	if (!s || sock_local(f->client.fd, &f->facts.target) < 0) {
		free(s);
		flow_close(f, WHY_INTERNAL);
		return;
	}
	s->flow = f;
	list_init(&s->asks);
	f->proto_state = s;
	f->down.paused = true; /* there is no server to read from */
	flow_set_timer(f, f->snapshot->timeouts.dns_ms);
	if (buf_append(&s->in, buf_span(&f->look), IN_MAX_BYTES) < 0)
		flow_close(f, WHY_INTERNAL);
	else
		flow_consume(f, f->look.len);
}

static void dns_forget(struct flow *f)
{
	struct dns_stream *s = f->proto_state;
	struct list *l, *tmp;

	if (!s)
		return;
	list_for_each(l, tmp, &s->asks)
		dns_ask_free(list_entry(l, struct dns_ask, stream_link));
	buf_done(&s->in);
	free(s);
	f->proto_state = NULL;
}

const struct proto_ops dns_proto_ops = {
	.name = "dns",
	.open = dns_open,
	.relay = dns_relay,
	.timeout = dns_timeout,
	.forget = dns_forget,
};
