/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A request becomes facts, policy is asked, and a server is taken from those
 * that wait or dialled.  The head for it is written with the content that has come with it; it
 * leaves at once, or when the server is there.
 *
 * A wrong request is answered and the connection closed: where the next would begin is not known.
 *
 * CONNECT is its learner's, but for one that does not say who asks, where that has to be said: the
 * client is told, and may ask again.  One that has sent more already took the tunnel for granted;
 * what comes then is no request, and the connection is closed.  What comes later is served for a
 * login only, which nobody can put into a tunnel who has none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/text.h"
#include "core/listener.h"
#include "core/worker.h"
#include "proto/http_hub.h"

#define CHALLENGE "Proxy-Authenticate: Basic realm=\"limpid\", charset=\"UTF-8\"\r\n"

#define MAX_FORWARDS 100000

/* A request being looked at. */
struct request {
	struct http1_request head;
	struct http1_summary fields;
	struct span path;
	struct span authority;
	unsigned int max_forwards; /* 0: this was the last */
	bool counted;		   /* there is a number of forwards */
};

static uint64_t wall_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* False, so that it can be returned. */
static bool refuse(struct hub *h, unsigned int status, const char *text)
{
	struct http_answer a = { .status = status, .why = WHY_GREETING, .text = text };

	h->keep = false;
	hub_answer(h, &a);
	return false;
}

/* ---- what it says ---- */

static void said_put(struct buf *b, struct span s, uint16_t *ret)
{
	s = span_head(s, HTTP_SAID_MAX_BYTES);
	*ret = buf_append(b, s, SIZE_MAX) == 0 ? (uint16_t)s.len : 0;
}

static void note(struct hub *h, const struct http1_request *q)
{
	h->said.len = 0;
	said_put(&h->said, q->method, &h->method_bytes);
	said_put(&h->said, q->target, &h->url_bytes);
	said_put(&h->said, q->user_agent, &h->agent_bytes);
	h->content_type[0] = '\0';
	h->start_us = wall_clock_us();
	h->status = 0;
	h->up_bytes = h->down_bytes = 0;
	h->minor = q->minor;
	h->no_content = span_eq_str(q->method, "HEAD");
	h->known = h->asked = false;
	h->begun = h->upgrade = h->retry = h->up_over = h->origin_keep = h->expects = false;
	h->down_chunked = false;
	h->scanned = 0;
	h->alone = h->flow->worker->realm->n_interceptors > 0;
}

/* "http://authority/path?query": what stands behind the authority, as a server wants it. */
static bool target_split(struct request *q)
{
	struct span rest = q->head.target;
	size_t n = 0;

	if (rest.len < 7 || !http1_word_is(span_head(rest, 7), "http://"))
		return false;
	rest = span_skip(rest, 7);
	while (n < rest.len && rest.data[n] != '/' && rest.data[n] != '?' && rest.data[n] != '#')
		n++;
	q->authority = span_head(rest, n);
	q->path = span_skip(rest, n);
	return true;
}

static bool forwards_read(struct request *q)
{
	struct span s = q->fields.first[HTTP1_MAX_FORWARDS];

	q->counted = s.data && (span_eq_str(q->head.method, "OPTIONS") ||
				span_eq_str(q->head.method, "TRACE"));
	if (!q->counted)
		return true;
	q->max_forwards = 0;
	if (!s.len)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9')
			return false;
		if (q->max_forwards < MAX_FORWARDS)
			q->max_forwards = q->max_forwards * 10 + (s.data[i] - '0');
	}
	return true;
}

/* NTLM and Negotiate are about all that the connection carries from then on (RFC 4559). */
static bool logs_in_by_connection(struct span authorization)
{
	const uint8_t *space =
		authorization.len ? memchr(authorization.data, ' ', authorization.len) : NULL;
	struct span scheme = span_head(authorization, space ? (size_t)(space - authorization.data)
							    : authorization.len);

	return http1_word_is(scheme, "ntlm") || http1_word_is(scheme, "negotiate");
}

/* Everything that can be wrong with it.  False: it has been answered. */
static bool request_check(struct hub *h, struct request *q)
{
	const struct http1_request *head = &q->head;
	int r;

	if (head->host_missing)
		return refuse(h, 400, "The request has no Host field");
	if (http1_summary_read(head->fields, head->n_fields, &q->fields) < 0)
		return refuse(h, 400,
			      "Connection names a field that the request cannot do without");
	r = http1_request_body(&q->fields, head->minor, &h->up_body);
	if (r == -EOPNOTSUPP)
		return refuse(h, 501, "The only transfer coding served here is chunked");
	if (r < 0)
		return refuse(h, 400, "How long the request is can be read in two ways");
	h->up_chunked = h->up_body.framing == HTTP1_CHUNKED;
	h->up_options = q->fields.options;
	h->up_over = http1_body_is_empty(&h->up_body);
	h->keep = head->minor && !q->fields.close &&
		  !http1_word_is(q->fields.first[HTTP1_PROXY_CONNECTION], "close");
	q->counted = head->form == HTTP1_FORM_ASTERISK; /* it is we who are asked */
	q->max_forwards = 0;
	if (q->counted)
		return true;
	if (head->form == HTTP1_FORM_AUTHORITY)
		return h->up_over || refuse(h, 400, "A CONNECT request has no content");
	if (head->form != HTTP1_FORM_ABSOLUTE)
		return refuse(h, 400,
			      "This is a proxy: the request must say where to, as "
			      "http://host/path");
	if (!target_split(q))
		return refuse(h, 501,
			      "Only http:// is served here; what is https:// goes through "
			      "CONNECT");
	if (q->path.len && memchr(q->path.data, '#', q->path.len))
		return refuse(h, 400, "What stands behind # is not for servers");
	if (!forwards_read(q))
		return refuse(h, 400, "Max-Forwards is no number");
	h->owns = logs_in_by_connection(q->fields.first[HTTP1_AUTHORIZATION]);
	h->expects = head->minor && q->fields.n[HTTP1_EXPECT];
	h->upgrade = q->fields.upgrade && head->minor && h->up_over &&
		     q->fields.n[HTTP1_UPGRADE] == 1 &&
		     http1_word_is(q->fields.first[HTTP1_UPGRADE], "websocket");
	return true;
}

/* ---- where to ---- */

static bool keep_text(char **dst, const char *text)
{
	if (*dst && !strcmp(*dst, text))
		return true;
	free(*dst);
	*dst = text_dup(span_str(text));
	return *dst;
}

static bool target_set(struct hub *h, const struct http1_request *q)
{
	struct facts *facts = &h->flow->facts;
	struct addr before = facts->target;
	uint16_t port = q->port ? q->port : 80;

	facts->target = (struct addr){ 0 };
	free(facts->learnt_name);
	facts->learnt_name = NULL;
	if (q->host_is_ip) {
		free(facts->target_name);
		free(facts->host);
		facts->target_name = facts->host = NULL;
		if (addr_parse_ip(q->host, &facts->target) < 0)
			return false;
	} else if (!keep_text(&facts->target_name, q->host) || !keep_text(&facts->host, q->host)) {
		return false;
	}
	facts->target.port = port;
	if (!addr_eq(&before, &facts->target))
		h->flow->announced = h->flow->announced && !q->host_is_ip && before.port == port;
	return true;
}

/* Is the name in Host another than the target's?  Where there is none it is not. */
static bool names_another(const struct request *q)
{
	char host[256];
	bool is_ip;
	uint16_t port;

	return http1_authority_parse(q->fields.first[HTTP1_HOST], host, &is_ip, &port) == 0 &&
	       *host && strcmp(host, q->head.host);
}

/* `target: host`: the Host field counts, and not what stands in the request line. */
static void target_of_host(struct request *q)
{
	struct span host = q->fields.first[HTTP1_HOST];
	uint16_t port = q->head.port;

	if (!host.len ||
	    http1_authority_parse(host, q->head.host, &q->head.host_is_ip, &q->head.port) < 0)
		return;
	if (!q->head.port)
		q->head.port = port;
	q->authority = host;
}

/* ---- what goes on ---- */

/* A server asked for "*" has no path (RFC 9112 section 3.2.4). */
static void put_path(struct http_out *o, const struct request *q)
{
	if (!q->path.len && span_eq_str(q->head.method, "OPTIONS"))
		http_put_str(o, "*");
	else if (!q->path.len || q->path.data[0] == '?')
		http_put_str(o, "/");
	http_put(o, q->path);
}

static void put_head(struct hub *h, struct http_out *o, const struct request *q)
{
	const struct http1_request *head = &q->head;
	char text[64];

	http_put(o, head->method);
	http_put_str(o, " ");
	put_path(o, q);
	http_put_str(o, " HTTP/1.1\r\nHost: ");
	http_put(o, q->authority);
	http_put_str(o, "\r\n");
	http_put_fields(o, &q->fields, head->fields, head->n_fields);
	if (h->up_body.framing == HTTP1_LENGTH) {
		snprintf(text, sizeof(text), "Content-Length: %llu\r\n",
			 (unsigned long long)h->up_body.left);
		http_put_str(o, text);
	} else if (h->up_chunked) {
		http_put_str(o, "Transfer-Encoding: chunked\r\n");
	}
	if (q->counted) {
		snprintf(text, sizeof(text), "Max-Forwards: %u\r\n", q->max_forwards - 1);
		http_put_str(o, text);
	} else if (q->fields.n[HTTP1_MAX_FORWARDS]) {
		http_put_str(o, "Max-Forwards: ");
		http_put(o, q->fields.first[HTTP1_MAX_FORWARDS]);
		http_put_str(o, "\r\n");
	}
	if (h->expects) { /* HTTP/1.0 knows nothing of it */
		http_put_str(o, "Expect: ");
		http_put(o, q->fields.first[HTTP1_EXPECT]);
		http_put_str(o, "\r\n");
	}
	if (h->upgrade)
		http_put_str(o, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	else if (h->alone)
		http_put_str(o, "Connection: close\r\n");
	http_put_str(o, head->minor ? "Via: 1.1 limpid\r\n\r\n" : "Via: 1.0 limpid\r\n\r\n");
}

/* RFC 9110 section 9.2.2 */
static bool is_idempotent(struct span method)
{
	static const char *const methods[] = { "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE" };

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (span_eq_str(method, methods[i]))
			return true;
	return false;
}

/* Content of the request from @bytes into @o.  False: it is malformed. */
static bool put_content(struct hub *h, struct http_out *o, uint8_t *bytes, size_t len,
			size_t *ret_used)
{
	struct span trailers;
	size_t content;
	enum codec_result r =
		http1_body_read(&h->up_body, bytes, len, ret_used, &content, &trailers);

	if (r == CODEC_BAD)
		return false;
	h->up_bytes += content;
	http_put_content(o, span_of(bytes, content), h->up_chunked);
	if (trailers.len && !h->up_options &&
	    buf_append(&h->up_trailers, trailers, HTTP1_TRAILERS_MAX_BYTES) < 0)
		return false;
	if (r == CODEC_DONE) {
		if (h->up_chunked)
			http_put_end(o, buf_span(&h->up_trailers));
		buf_done(&h->up_trailers);
		h->up_over = true;
	}
	return true;
}

/* Policy, then the head and what content came with it.  Returns what of @bytes is the request's. */
static size_t request_begin(struct hub *h, struct request *q, uint8_t *bytes, size_t len)
{
	struct http_out out = http_out_of(h);
	struct flow *f = h->flow;
	struct decision d;
	size_t used = 0, room, body;

	f->facts.mismatch = names_another(q);
	if (f->listener->targets & 1u << PROTOCOL_HTTP)
		target_of_host(q);
	if (!target_set(h, &q->head)) {
		hub_fail(h, WHY_INTERNAL, NULL);
		return 0;
	}
	h->asked = true;
	flow_recall_name(f);
	policy_decide(f->snapshot->policy, &f->facts, &d);
	f->decision = d;
	f->plan = d.plan;
	if (d.final && d.verdict != VERDICT_ACCEPT) {
		f->announced = false;
		flow_announce(f);
		hub_fail(h, d.verdict == VERDICT_REJECT ? WHY_REJECTED : WHY_DENIED, NULL);
		return 0;
	}
	put_head(h, &out, q);
	h->retry = h->up_over && is_idempotent(q->head.method);
	h->again.len = 0;
	if (h->retry && buf_append(&h->again, span_of(out.data, out.len), SIZE_MAX) < 0)
		h->retry = false;
	body = len - q->head.head_bytes;
	room = out.cap - out.len - 2 * HTTP1_CHUNK_LINE_CAP - HTTP1_TRAILERS_MAX_BYTES;
	if (!h->up_over &&
	    !put_content(h, &out, bytes + q->head.head_bytes, body < room ? body : room, &used)) {
		refuse(h, 400, "The content of the request is malformed");
		return 0;
	}
	hub_dial(h, &d.plan, !h->retry);
	if (!flow_is_over(f) && (h->step == HUB_DIAL || h->step == HUB_EXCHANGE))
		hub_send_up(h, span_of(out.data, out.len));
	return used;
}

/* Max-Forwards has run out: the proxy is asked itself (RFC 9110 section 7.6.2). */
static void answer_ourselves(struct hub *h, const struct request *q)
{
	struct http_answer a = { .status = 405,
				 .why = WHY_FINISHED,
				 .fields = "Allow: OPTIONS\r\n",
				 .text = "limpid does not reflect requests" };
	char text[128], date[HTTP_DATE_CAP];

	if (!span_eq_str(q->head.method, "OPTIONS")) {
		hub_answer(h, &a);
		return;
	}
	h->status = 200;
	h->keep = h->keep && h->up_over;
	http_date_format(date);
	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n%s\r\n", date,
		 h->keep ? "" : "Connection: close\r\n");
	if (hub_send_down(h, span_str(text)))
		hub_exchange_over(h, WHY_FINISHED);
}

/* Return: bytes consumed of @len from the request's first. */
static size_t request_take(struct hub *h, struct request *q, uint8_t *bytes, size_t len)
{
	struct http_answer unknown = { .status = 407, .why = WHY_LOGIN, .fields = CHALLENGE };
	size_t head_bytes = q->head.head_bytes;

	note(h, &q->head);
	if (!request_check(h, q))
		return head_bytes;
	switch (hub_log_in(h, &q->fields)) {
	case LOGIN_LATER:
		h->said.len = 0;
		return 0;
	case LOGIN_NO:
		if (q->head.form == HTTP1_FORM_AUTHORITY && len > head_bytes)
			h->keep = false;
		hub_answer(h, &unknown);
		return head_bytes;
	case LOGIN_YES:
		h->known = true;
		break;
	}
	if (q->counted && !q->max_forwards)
		answer_ourselves(h, q);
	else
		head_bytes += request_begin(h, q, bytes, len);
	return head_bytes;
}

/* ---- bytes of the client ---- */

/* Return: bytes in the first half of the thread's buffer; 0: none now (the flow may have ended). */
static size_t client_read(struct hub *h)
{
	struct flow *f = h->flow;
	struct lane_tools *t = &f->worker->tools;
	ssize_t n;

	if (h->client_end || !end_can_read(&f->client))
		return 0;
	n = stream_read(f->client.top, t->buffer, HTTP_HALF(t));
	if (n > 0) {
		f->up.bytes += (uint64_t)n;
		f->active_ms = loop_now_ms(&f->worker->loop);
		return (size_t)n;
	}
	if (n == -EAGAIN)
		return 0;
	if (n < 0) {
		flow_close(f, n == -ETIMEDOUT ? WHY_CLIENT_LOST : WHY_CLIENT_RESET);
		return 0;
	}
	h->client_end = true;
	flow_end_over(f, &f->client);
	return 0;
}

/* What is not used of what was looked at: @fresh stood in the thread's buffer, else in h->in.
 * @h is gone if the answer could not be written. */
static void keep_rest(struct flow *f, struct hub *h, const uint8_t *bytes, size_t len, size_t used,
		      bool fresh)
{
	if (flow_is_over(f) || f->proto_state != h)
		return;
	if (!fresh)
		buf_consume(&h->in, used);
	else if (used < len && buf_append(&h->in, span_of(bytes + used, len - used), SIZE_MAX) < 0)
		flow_close(f, WHY_INTERNAL);
}

/* May its learner have it? */
static bool asks_for_tunnel(const struct hub *h, const struct http1_request *q)
{
	return q->form == HTTP1_FORM_AUTHORITY &&
	       (!h->flow->listener->users || http1_request_has(q, "proxy-authorization"));
}

/* The head that stands in @bytes, if it is whole. */
static void head_look(struct hub *h, uint8_t *bytes, size_t len, bool fresh)
{
	struct flow *f = h->flow;
	struct request q;
	size_t used = 0, max = f->snapshot->limits.look_ahead_bytes;

	if (max > HTTP_HEAD_MAX_BYTES)
		max = HTTP_HEAD_MAX_BYTES;
	h->hungry = false;
	switch (http1_request_parse(&h->scan, span_of(bytes, len), max, &q.head)) {
	case CODEC_DONE:
		if (asks_for_tunnel(h, &q.head)) { /* its learner knows what to do */
			flow_serve_end(f, span_of(bytes, len));
			return;
		}
		used = request_take(h, &q, bytes, len);
		break;
	case CODEC_BAD:
		h->keep = false;
		h->said.len = 0;
		if (h->scan.other_major)
			refuse(h, 505, "This is a proxy for HTTP/1.1");
		else if (h->scan.n_fields == HTTP1_MAX_FIELDS)
			refuse(h, 431, "The request has too many fields");
		else if (len >= max && !memmem(bytes, max, "\r\n\r\n", 4))
			refuse(h, memchr(bytes, '\n', len) ? 431 : 414,
			       "The head of the request is too long");
		else
			refuse(h, 400, "The request is malformed");
		break;
	case CODEC_OTHER:
		h->said.len = 0;
		refuse(h, 400, "This is no HTTP request");
		break;
	case CODEC_MORE:
		h->hungry = true;
		if (!h->head_ms)
			h->head_ms = loop_now_ms(&f->worker->loop);
		break;
	}
	keep_rest(f, h, bytes, len, used, fresh);
}

bool hub_request(struct hub *h)
{
	struct flow *f = h->flow;
	struct lane_tools *t = &f->worker->tools;
	bool partly = h->in.len, timed = h->head_ms;
	size_t n = 0;

	if (h->down.len)
		return false;
	if (!h->in.len || h->hungry) {
		n = client_read(h);
		if (flow_is_over(f))
			return false;
	}
	if (!n && !h->in.len && (h->client_end || f->worker->draining)) {
		h->why = WHY_FINISHED;
		h->step = HUB_LAST;
		return true;
	}
	if (!n && h->client_end && h->hungry) {
		h->said.len = 0;
		refuse(h, 400, "The request ended before it was whole");
		return true;
	}
	if (!n && (!h->in.len || h->hungry))
		return false;
	if (n && partly) {
		if (buf_append(&h->in, span_of(t->buffer, n), SIZE_MAX) < 0) {
			flow_close(f, WHY_INTERNAL);
			return false;
		}
		n = 0;
	}
	if (n)
		head_look(h, t->buffer, n, true);
	else
		head_look(h, h->in.data, h->in.len, false);
	if (!flow_is_over(f) && f->proto_state == h && hub_hold(h, h->hungry ? h->in.len : 0) &&
	    h->hungry && !timed)
		flow_set_timer(f, f->snapshot->timeouts.sniff_ms);
	return !flow_is_over(f) && f->proto_state == h && !f->login;
}

bool hub_upload(struct hub *h)
{
	struct flow *f = h->flow;
	struct http_out out = http_out_of(h);
	bool fresh = !h->in.len;
	uint8_t *bytes;
	size_t n, len, used;

	if (h->up_over || h->up.len || hub_bulk_up(h))
		return false;
	n = fresh ? client_read(h) : h->in.len;
	if (flow_is_over(f))
		return false;
	if (!n && h->client_end && h->answered) { /* it has what it wanted */
		h->keep = false;
		hub_exchange_over(h, WHY_CLIENT_GONE);
		return true;
	}
	if (!n && h->client_end) {
		flow_close(f, WHY_CLIENT_GONE);
		return false;
	}
	if (!n)
		return false;
	bytes = fresh ? f->worker->tools.buffer : h->in.data;
	len = out.cap - 2 * HTTP1_CHUNK_LINE_CAP - HTTP1_TRAILERS_MAX_BYTES;
	if (n < len)
		len = n;
	if (!put_content(h, &out, bytes, len, &used)) {
		if (h->begun)
			flow_close(f, WHY_GREETING);
		else
			refuse(h, 400, "The content of the request is malformed");
		return false;
	}
	keep_rest(f, h, bytes, n, used, fresh);
	return !flow_is_over(f) && hub_send_up(h, span_of(out.data, out.len));
}
