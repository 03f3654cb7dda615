/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The client knows that it speaks to a proxy: its first request says where
 * to.  CONNECT is a greeting, consumed here, and what follows is an ordinary flow (RFC 9110 section
 * 9.3.6): policy and the dial come first, then the answer, then the tunnel in which the next
 * learner looks at the bytes.  A request in absolute form is not consumed: the flow is given to
 * the proto that serves such clients, and comes back here when a CONNECT follows later.  So is a
 * CONNECT that lacks a login: it is told so, and asks again on the same connection.
 *
 * All that can be read as a wrong request is answered with a page and the end of the connection:
 * where it would have ended is not known.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/http1.h"
#include "codec/http1_basic.h"
#include "core/flow.h"
#include "core/http_answer.h"
#include "core/listener.h"
#include "core/users.h"
#include "core/worker.h"
#include "learn/learn.h"

#define CHALLENGE "Proxy-Authenticate: Basic realm=\"limpid\", charset=\"UTF-8\"\r\n"

static struct http1_scan *scan_of(struct flow *f)
{
	return f->learner_state;
}

static enum learn_result turn_away(struct flow *f, enum why why, unsigned int status,
				   const char *text)
{
	char page[HTTP_ANSWER_CAP];
	struct http_answer a = {
		.status = status,
		.why = why,
		.text = text,
		.fields = status == 407 ? CHALLENGE : NULL,
	};

	f->why = why;
	if (flow_reply(f, span_of(page, http_answer_format(&a, page))) == 0)
		flow_farewell(f, why);
	return LEARN_FAILED;
}

static enum learn_result bad_request(struct flow *f, const char *text)
{
	return turn_away(f, WHY_GREETING, 400, text);
}

/* The head is too long, or ended before it was whole. */
static enum learn_result unfinished(struct flow *f, struct span look)
{
	if (!f->look_full)
		return bad_request(f, "The request ended before it was whole");
	if (!memchr(look.data, '\n', look.len))
		return turn_away(f, WHY_GREETING, 414, "The request target is too long");
	return turn_away(f, WHY_GREETING, 431, "The head of the request is too long");
}

/* The one field of this name.  False: there are two. */
static bool field_of(const struct http1_request *q, const char *name, struct span *ret)
{
	*ret = span_of(NULL, 0);
	for (size_t i = 0; i < q->n_fields; i++) {
		if (!http1_field_is(&q->fields[i], name))
			continue;
		if (ret->data)
			return false;
		*ret = q->fields[i].value;
	}
	return true;
}

/* LEARN_DONE: may go on. */
static enum learn_result log_in(struct flow *f, const struct http1_request *q)
{
	struct users *users = f->listener->users;
	enum login_answer answer = LOGIN_NO;
	uint8_t room[HTTP1_BASIC_CAP];
	struct span value, name, password;

	if (!users)
		return LEARN_DONE;
	if (field_of(q, "proxy-authorization", &value) &&
	    http1_basic_parse(value, room, &name, &password) == 0)
		answer = login_check(f, users, name, password);
	if (answer == LOGIN_YES) {
		free(f->facts.user);
		f->facts.user = text_dup(name);
	}
	explicit_bzero(room, sizeof(room));
	switch (answer) {
	case LOGIN_LATER:
		return LEARN_MORE;
	case LOGIN_NO:
		return turn_away(f, WHY_LOGIN, 407, NULL);
	case LOGIN_YES:
		break;
	}
	if (f->facts.user)
		return LEARN_DONE;
	f->why = WHY_INTERNAL;
	return LEARN_FAILED;
}

static enum learn_result target_take(struct flow *f, const struct http1_request *q)
{
	struct facts *facts = &f->facts;

	if (q->host_is_ip) {
		if (addr_parse_ip(q->host, &facts->target) < 0)
			return bad_request(f, NULL);
		facts->target.port = q->port;
		return LEARN_DONE;
	}
	facts->target.port = q->port;
	facts->target_name = text_dup(span_str(q->host));
	facts->host = text_dup(span_str(q->host));
	facts->named = facts->host;
	if (facts->target_name && facts->host)
		return LEARN_DONE;
	f->why = WHY_INTERNAL;
	return LEARN_FAILED;
}

static enum learn_result connect_take(struct flow *f, const struct http1_request *q)
{
	const struct proto_ops *proto = f->worker->realm->parts.http;
	struct span value;
	enum learn_result r;

	/* a CONNECT has no content (RFC 9110 section 9.3.6): whose would those bytes be? */
	if (!field_of(q, "content-length", &value) || (value.data && !span_eq_str(value, "0")) ||
	    !field_of(q, "transfer-encoding", &value) || value.data)
		return bad_request(f, "A CONNECT request has no content");
	if (!q->host[0])
		return bad_request(f, "The target names no host");
	if (proto && f->listener->users && !http1_request_has(q, "proxy-authorization")) {
		flow_serve(f, proto);
		return LEARN_DONE;
	}
	r = log_in(f, q);
	if (r == LEARN_DONE)
		r = target_take(f, q);
	if (r == LEARN_DONE)
		flow_consume(f, q->head_bytes);
	return r;
}

static enum learn_result request_take(struct flow *f, const struct http1_request *q)
{
	const struct proto_ops *proto = f->worker->realm->parts.http;

	if (q->host_missing)
		return bad_request(f, "The request has no Host field");
	switch (q->form) {
	case HTTP1_FORM_AUTHORITY:
		return connect_take(f, q);
	case HTTP1_FORM_ORIGIN:
		return bad_request(f, "This is a proxy: the request must say where to, as "
				      "http://host/path");
	case HTTP1_FORM_ABSOLUTE:
	case HTTP1_FORM_ASTERISK:
		break;
	}
	if (!proto)
		return turn_away(f, WHY_GREETING, 501, "Only CONNECT is served here");
	flow_serve(f, proto);
	return LEARN_DONE;
}

/* Keep where the walk over the head stands until more of it has come. */
static bool scan_keep(struct flow *f, const struct http1_scan *scan)
{
	if (!f->learner_state)
		f->learner_state = malloc(sizeof(*scan));
	if (f->learner_state && f->learner_state != scan)
		*scan_of(f) = *scan;
	return f->learner_state;
}

static enum learn_result http_proxy_learn(struct flow *f, const struct learner *l, struct span look,
					  bool last)
{
	struct http1_scan fresh = { 0 };
	struct http1_scan *scan = f->learner_state ? f->learner_state : &fresh;
	struct http1_request q;

	if (f->greeter && f->greeter != l) /* what another was told is for another */
		return LEARN_DONE;
	if (!look.len && last) {
		f->why = WHY_CLIENT_GONE;
		return LEARN_FAILED;
	}
	if (!look.len)
		return LEARN_MORE;
	flow_greeted(f, l);
	switch (http1_request_parse(scan, look, f->snapshot->limits.look_ahead_bytes, &q)) {
	case CODEC_DONE:
		return request_take(f, &q);
	case CODEC_BAD:
		if (scan->other_major)
			return turn_away(f, WHY_GREETING, 505, "This is a proxy for HTTP/1.1");
		if (scan->n_fields == HTTP1_MAX_FIELDS)
			return turn_away(f, WHY_GREETING, 431, "The request has too many fields");
		if (f->look_full && !memmem(look.data, look.len, "\r\n\r\n", 4))
			return unfinished(f, look);
		return bad_request(f, "The request is malformed");
	case CODEC_OTHER:
		if (scan->h2)
			return turn_away(f, WHY_GREETING, 505, "This is a proxy for HTTP/1.1");
		return bad_request(f, "This is no HTTP request");
	case CODEC_MORE:
		break;
	}
	if (last)
		return unfinished(f, look);
	if (scan_keep(f, scan))
		return LEARN_MORE;
	f->why = WHY_INTERNAL;
	return LEARN_FAILED;
}

static int http_proxy_answer(struct flow *f, const struct learner *l, enum why outcome)
{
	char page[HTTP_ANSWER_CAP], about[ADDR_TEXT_MAX + 256];
	struct http_answer a = { .status = http_answer_status(outcome), .why = outcome };
	const struct facts *facts = &f->facts;

	if (outcome == WHY_OPEN)
		return flow_reply(f, span_str("HTTP/1.1 200 Connection established\r\n\r\n"));
	if (facts->target_name)
		snprintf(about, sizeof(about), "%s:%u", facts->target_name, facts->target.port);
	else if (facts->target.family)
		addr_format(&facts->target, about);
	else
		about[0] = '\0';
	a.about = span_str(about);
	if (outcome == WHY_NO_TARGET)
		a.text = "The request did not come in time";
	return flow_reply(f, span_of(page, http_answer_format(&a, page)));
}

static void http_proxy_forget(struct flow *f)
{
	free(f->learner_state);
	f->learner_state = NULL;
}

const struct learner_ops http_proxy_learner_ops = {
	.name = "http",
	.consumes = true,
	.learn = http_proxy_learn,
	.answer = http_proxy_answer,
	.forget = http_proxy_forget,
};
