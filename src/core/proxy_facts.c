/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hostname.h"
#include "base/mem.h"
#include "base/netset.h"
#include "base/text.h"
#include "core/proxy_facts.h"

/* Of each TLV, as much as a record shows. */
#define TLV_MAX_BYTES 255

bool proxy_header_trusts(const struct proxy_header_conf *conf, const struct addr *sender)
{
	return conf->trusted && netset_contains(conf->trusted, sender);
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

/* The name by which the sender was asked, until the client says another. */
static bool take_host(struct facts *f, struct span authority)
{
	char name[HOSTNAME_CAP];

	if (f->host || hostname_parse(authority, name) < 0)
		return true;
	f->host = strdup(name);
	return f->host;
}

int facts_introduce(struct facts *f, const struct proxy_header *h)
{
	struct proxy_facts *p = NEW0(struct proxy_facts);

	if (!p)
		return -ENOMEM;
	f->proxy = p;
	p->sender = f->client;
	p->version = h->version;
	p->local = !h->source.family;
	p->ssl = h->ssl;
	p->ssl_verified = h->ssl_verified;
	if (h->source.family)
		f->client = h->source;
	if (h->unique_id.len)
		p->unique_id = hex(h->unique_id);
	if ((h->unique_id.len && !p->unique_id) || !keep(&p->alpn, h->alpn) ||
	    !keep(&p->authority, h->authority) || !keep(&p->netns, h->netns) ||
	    !keep(&p->ssl_version, h->ssl_version) || !keep(&p->ssl_cn, h->ssl_cn) ||
	    !keep(&p->ssl_cipher, h->ssl_cipher) || !take_host(f, h->authority))
		return -ENOMEM;
	return 0;
}

enum why proxy_datagram_parse(const struct proxy_header_conf *conf, const struct addr *sender,
			      struct span datagram, struct proxy_header *ret)
{
	bool whole = false;

	*ret = (struct proxy_header){ 0 };
	if (!proxy_header_trusts(conf, sender))
		return conf->required ? WHY_UNTRUSTED : WHY_OPEN;
	switch (proxy_header_parse(datagram, ret)) {
	case CODEC_DONE:
		whole = ret->version == 2; /* version 1 is of streams only */
		break;
	case CODEC_MORE:
		if (!conf->required && datagram.len < PROXY_HEADER_SURE_BYTES)
			return WHY_OPEN;
		break;
	case CODEC_OTHER:
		return conf->required ? WHY_GREETING : WHY_OPEN;
	case CODEC_BAD:
		break;
	}
	return whole ? WHY_OPEN : WHY_GREETING;
}
