/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A header of the PROXY protocol stands before all else, and only who is
 * trusted may send one: what another sends is never read as one.  Required: without a header
 * there is no flow.  Optional: the first bytes that can be no header are the client's own, and a
 * client that says nothing in timeouts.sniff has sent none.  What has begun as a header must end
 * as one in either case.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hostname.h"
#include "base/mem.h"
#include "base/netset.h"
#include "base/text.h"
#include "codec/proxy_header.h"
#include "core/flow.h"
#include "learn/learn.h"

/* Of each TLV, as much as a record shows. */
#define TLV_MAX_BYTES 255
/* So much of a header is nothing else. */
#define SURE_BYTES 6

static enum learn_result fail(struct flow *f, enum why why)
{
	f->why = why;
	return LEARN_FAILED;
}

/* As hexadecimal digits.  NULL: no memory. */
static char *hex(struct span s)
{
	char *text = malloc(2 * s.len + 1);

	if (!text)
		return NULL;
	for (size_t i = 0; i < s.len; i++)
		snprintf(text + 2 * i, 3, "%02x", s.data[i]);
	text[2 * s.len] = '\0';
	return text;
}

/* What is absent, or has a NUL inside, is NULL.  False: no memory. */
static bool keep(char **to, struct span s)
{
	s = span_head(s, TLV_MAX_BYTES);
	if (!s.len || memchr(s.data, '\0', s.len))
		return true;
	*to = text_dup(s);
	return *to;
}

static bool note(struct flow *f, const struct proxy_header *h)
{
	struct proxy_facts *p = NEW0(struct proxy_facts);

	if (!p)
		return false;
	f->facts.proxy = p;
	p->sender = f->facts.client;
	p->version = h->version;
	p->local = !h->source.family;
	p->ssl = h->ssl;
	p->ssl_verified = h->ssl_verified;
	if (h->unique_id.len)
		p->unique_id = hex(h->unique_id);
	return keep(&p->alpn, h->alpn) && keep(&p->authority, h->authority) &&
	       keep(&p->netns, h->netns) && keep(&p->ssl_version, h->ssl_version) &&
	       keep(&p->ssl_cn, h->ssl_cn) && keep(&p->ssl_cipher, h->ssl_cipher) &&
	       (p->unique_id || !h->unique_id.len);
}

/* The name by which the sender was asked, until the client says another. */
static bool take_host(struct flow *f, struct span authority)
{
	char name[HOSTNAME_CAP];

	if (f->facts.host || hostname_parse(authority, name) < 0)
		return true;
	f->facts.host = strdup(name);
	return f->facts.host;
}

static void take_target(struct flow *f, const struct addr *destination)
{
	if (!destination->family)
		return;
	free(f->facts.target_name); /* of listeners.to, which is for those that name none */
	f->facts.target_name = NULL;
	f->facts.target = *destination;
}

static enum learn_result take(struct flow *f, const struct proxy_header_conf *conf,
			      const struct proxy_header *h)
{
	if (h->datagram)
		return fail(f, WHY_GREETING);
	if (!note(f, h) || !take_host(f, h->authority))
		return fail(f, WHY_INTERNAL);
	if (h->source.family) {
		f->facts.client = h->source;
		f->translated = false; /* conntrack knows only the sender */
	}
	if (conf->names_target)
		take_target(f, &h->destination);
	flow_consume(f, h->bytes);
	if (conf->names_target && !f->facts.target.family && !f->facts.target_name)
		return fail(f, WHY_NO_TARGET);
	return LEARN_DONE;
}

static enum learn_result proxy_header_learn(struct flow *f, const struct learner *l,
					    struct span look, bool last)
{
	const struct proxy_header_conf *conf = l->conf;
	struct proxy_header h;

	if (!conf->trusted || !netset_contains(conf->trusted, &f->facts.client))
		return conf->required ? fail(f, WHY_UNTRUSTED) : LEARN_DONE;
	switch (proxy_header_parse(look, &h)) {
	case CODEC_DONE:
		return take(f, conf, &h);
	case CODEC_MORE:
		if (!last)
			return LEARN_MORE;
		if (look.len >= SURE_BYTES)
			return fail(f, WHY_GREETING);
		break;
	case CODEC_BAD:
		return fail(f, WHY_GREETING);
	case CODEC_OTHER:
		break;
	}
	return conf->required ? fail(f, WHY_GREETING) : LEARN_DONE;
}

const struct learner_ops proxy_header_learner_ops = {
	.name = "proxy-header",
	.consumes = true,
	.asks_late = true,
	.learn = proxy_header_learn,
};
