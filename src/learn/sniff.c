/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The candidates (TLS, HTTP) are asked in turn; each says "not mine" as
 * early as the bytes allow.  When all have, the protocol is known to be another.  A malformed
 * message of a protocol is that protocol without a name: policy, to which an unknown name
 * satisfies nothing, decides.  What the scans remember between reads is kept only while the
 * first message comes in pieces.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/http1.h"
#include "codec/tls_hello.h"
#include "core/flow.h"
#include "core/worker.h"
#include "learn/learn.h"

/* Of request targets and user agents, as much as a record shows. */
#define FIELD_MAX_BYTES 1024

struct sniff_state {
	struct tls_hello_scan tls;
	struct http1_scan http;
	bool not_tls, not_http;
	bool no_memory; /* for a name that was said: it must not pass for unknown */
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

static enum codec_result sniff_tls(struct flow *f, struct sniff_state *st, struct span look)
{
	struct tls_hello hello;
	enum codec_result r = tls_hello_parse(&st->tls, look, &hello);

	if (r == CODEC_DONE) {
		f->facts.tls_version = hello.version;
		f->facts.ech = hello.ech;
		keep_host(f, st, hello.sni);
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
		if (!st->no_memory)
			return LEARN_DONE;
		f->why = WHY_INTERNAL;
		return LEARN_FAILED;
	case CODEC_OTHER:
		f->facts.protocol = PROTOCOL_OTHER;
		return LEARN_DONE;
	case CODEC_MORE:
		break;
	}
	if (st == &fresh && !last) {
		f->learner_state = malloc(sizeof(fresh));
		if (!f->learner_state) {
			f->why = WHY_INTERNAL;
			return LEARN_FAILED;
		}
		*(struct sniff_state *)f->learner_state = fresh;
	}
	return LEARN_MORE;
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
