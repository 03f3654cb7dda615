/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The candidates (TLS, HTTP) are asked in turn; each says "not mine" as
 * early as the bytes allow.  When all have, the protocol is known to be another.  A malformed
 * message of a protocol is that protocol without a name: policy, to which an unknown name
 * satisfies nothing, decides.  What the scans remember between reads is kept only while the
 * first message comes in pieces.
 *
 * Where the name that is said is the target, a learner of its own looks for it first, as part of
 * the greeting: the client is told to speak, and nothing is decided before it has, or its time is
 * over.  Then the ordinary one looks again, and goes on looking.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/http1.h"
#include "codec/tls_hello.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/worker.h"
#include "learn/learn.h"

/* Of request targets and user agents, as much as a record shows. */
#define FIELD_MAX_BYTES 1024

struct sniff_state {
	struct tls_hello_scan tls;
	struct http1_scan http;
	bool not_tls, not_http;
	uint32_t targets; /* 1 << enum protocol */
	bool no_memory;	  /* for a name that was said: it must not pass for unknown */
};

static void keep_text(char **dst, struct span s)
{
	free(*dst);
	*dst = s.len ? text_dup(span_head(s, FIELD_MAX_BYTES)) : NULL;
}

/* What a client has asked limpid for by name is that, whatever it says to the server. */
static void keep_host(struct flow *f, struct sniff_state *st, const char *host)
{
	if (f->facts.named)
		f->facts.mismatch = *host && strcmp(host, f->facts.host);
	if (f->facts.host && (f->greeter || !*host))
		return;
	free(f->facts.host);
	f->facts.host = *host ? text_dup(span_str(host)) : NULL;
	st->no_memory = *host && !f->facts.host;
}

/* For the record, if @host and @port are another target than now.  False: no memory. */
static bool note_asked(struct facts *facts, const char *host, uint16_t port)
{
	char text[ADDR_TEXT_MAX + 256];
	bool same = facts->target_name && !strcmp(facts->target_name, host);

	if (same && port == facts->target.port)
		return true;
	if (facts->target_name)
		snprintf(text, sizeof(text), "%s:%u", facts->target_name, facts->target.port);
	else
		addr_format(&facts->target, text);
	free(facts->asked);
	facts->asked = text_dup(span_str(text));
	return facts->asked;
}

/* The target is @host, said in protocol @in, if it is to be. */
static void keep_target(struct flow *f, struct sniff_state *st, enum protocol in, const char *host,
			bool is_ip, uint16_t port)
{
	struct facts *facts = &f->facts;

	if (!*host || !(st->targets & 1u << in))
		return;
	if (!port)
		port = facts->target.port;
	if (!note_asked(facts, host, port)) {
		st->no_memory = true;
		return;
	}
	free(facts->target_name);
	free(facts->host);
	facts->target_name = facts->host = NULL;
	facts->target = (struct addr){ 0 };
	facts->named = false; /* it is no longer what limpid was asked for */
	if (!is_ip) {
		facts->target_name = text_dup(span_str(host));
		facts->host = text_dup(span_str(host));
		st->no_memory = !facts->target_name || !facts->host;
	} else if (addr_parse_ip(host, &facts->target) < 0) {
		st->no_memory = true;
	}
	facts->target.port = port;
}

static enum codec_result sniff_tls(struct flow *f, struct sniff_state *st, struct span look)
{
	struct tls_hello hello;
	enum codec_result r = tls_hello_parse(&st->tls, look, &hello);

	if (r == CODEC_DONE) {
		f->facts.tls_version = hello.version;
		f->facts.ech = hello.ech;
		keep_host(f, st, hello.sni);
		keep_target(f, st, PROTOCOL_TLS, hello.sni, false, 0);
		keep_text(&f->facts.alpn, span_str(hello.alpn));
	}
	if (r == CODEC_DONE || r == CODEC_BAD)
		f->facts.protocol = PROTOCOL_TLS;
	return r;
}

static enum codec_result sniff_http(struct flow *f, struct sniff_state *st, struct span look)
{
	struct http1_request req;
	enum codec_result r =
		http1_request_parse(&st->http, look, f->snapshot->limits.look_ahead_bytes, &req);

	if (r == CODEC_DONE) {
		keep_host(f, st, req.host);
		keep_target(f, st, PROTOCOL_HTTP, req.host, req.host_is_ip, req.port);
		keep_text(&f->facts.http.method, req.method);
		keep_text(&f->facts.http.target, req.target);
		keep_text(&f->facts.http.user_agent, req.user_agent);
	}
	if (r == CODEC_DONE || r == CODEC_BAD)
		f->facts.protocol = PROTOCOL_HTTP;
	return r;
}

/* Ask those that have not said no.  CODEC_OTHER: all have. */
static enum codec_result sniff_any(struct flow *f, struct sniff_state *st, uint32_t wanted,
				   struct span look)
{
	enum codec_result r;

	if (!st->not_tls && wanted & 1u << PROTOCOL_TLS) {
		r = sniff_tls(f, st, look);
		if (r != CODEC_OTHER)
			return r;
		st->not_tls = true;
	}
	if (!st->not_http && wanted & 1u << PROTOCOL_HTTP) {
		r = sniff_http(f, st, look);
		if (r != CODEC_OTHER)
			return r;
		st->not_http = true;
	}
	return CODEC_OTHER;
}

/* What has come is not enough: @fresh is kept. */
static enum learn_result wait(struct flow *f, const struct sniff_state *fresh, bool last)
{
	if (f->learner_state || last)
		return LEARN_MORE;
	f->learner_state = malloc(sizeof(*fresh));
	if (!f->learner_state) {
		f->why = WHY_INTERNAL;
		return LEARN_FAILED;
	}
	*(struct sniff_state *)f->learner_state = *fresh;
	return LEARN_MORE;
}

static enum learn_result sniff_done(struct flow *f, const struct sniff_state *st)
{
	if (!st->no_memory)
		return LEARN_DONE;
	f->why = WHY_INTERNAL;
	return LEARN_FAILED;
}

static enum learn_result sniff_learn(struct flow *f, const struct learner *l, struct span look,
				     bool last)
{
	struct sniff_state fresh = { 0 };
	struct sniff_state *st = f->learner_state ? f->learner_state : &fresh;

	if (!look.len)
		return LEARN_MORE;
	switch (sniff_any(f, st, *(const uint32_t *)l->conf, look)) {
	case CODEC_DONE:
	case CODEC_BAD:
		return sniff_done(f, st);
	case CODEC_OTHER:
		f->facts.protocol = PROTOCOL_OTHER;
		return LEARN_DONE;
	case CODEC_MORE:
		break;
	}
	return wait(f, &fresh, last);
}

static enum learn_result sniff_target_learn(struct flow *f, const struct learner *l,
					    struct span look, bool last)
{
	struct sniff_state fresh = { .targets = f->listener->targets };
	struct sniff_state *st = f->learner_state ? f->learner_state : &fresh;

	(void)l;
	if (f->facts.bind) /* nothing is dialled */
		return LEARN_DONE;
	if (!f->answered) {
		flow_hear(f);
		flow_set_timer(f, f->snapshot->timeouts.sniff_ms);
	}
	if (!look.len)
		return LEARN_MORE;
	switch (sniff_any(f, st, st->targets, look)) {
	case CODEC_DONE:
	case CODEC_BAD:
	case CODEC_OTHER:
		return sniff_done(f, st);
	case CODEC_MORE:
		break;
	}
	return wait(f, &fresh, last);
}

static void sniff_forget(struct flow *f)
{
	free(f->learner_state);
	f->learner_state = NULL;
}

const struct learner_ops sniff_learner_ops = {
	.name = "sniff",
	.learn = sniff_learn,
	.forget = sniff_forget,
};

const struct learner_ops sniff_target_learner_ops = {
	.name = "target",
	.consumes = true,
	.asks_late = true,
	.learn = sniff_target_learn,
	.forget = sniff_forget,
};
