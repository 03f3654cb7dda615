/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/facts.h"

const char *network_name(enum network n)
{
	switch (n) {
	case NETWORK_TCP:
		return "tcp";
	case NETWORK_UDP:
		return "udp";
	}
	return "?";
}

const char *protocol_name(enum protocol p)
{
	switch (p) {
	case PROTOCOL_UNKNOWN:
		return "unknown";
	case PROTOCOL_OTHER:
		return "other";
	case PROTOCOL_TLS:
		return "tls";
	case PROTOCOL_HTTP:
		return "http";
	case PROTOCOL_DNS:
		return "dns";
	}
	return "?";
}

static void proxy_facts_free(struct proxy_facts *p)
{
	if (!p)
		return;
	free(p->alpn);
	free(p->authority);
	free(p->unique_id);
	free(p->netns);
	free(p->ssl_version);
	free(p->ssl_cn);
	free(p->ssl_cipher);
	free(p);
}

void facts_done(struct facts *f)
{
	free(f->target_name);
	free(f->host);
	free(f->learnt_name);
	free(f->asked);
	free(f->alpn);
	free(f->user);
	proxy_facts_free(f->proxy);
	free(f->http.method);
	free(f->http.target);
	free(f->http.user_agent);
	memset(f, 0, sizeof(*f));
}
