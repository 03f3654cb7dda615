/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place that knows all parts.  A new part is its own file and a line here.
 */
#include "dial/accept.h"
#include "dial/direct.h"
#include "dial/eyeballs.h"
#include "dial/resolve.h"
#include "dial/via.h"
#include "engine/datagrams.h"
#include "engine/registry.h"
#include "learn/learn.h"
#include "proto/dns.h"
#include "proto/http.h"
#include "proto/associate.h"
#include "proto/raw.h"
#include "stream/tcp.h"

struct parts registry_parts(void)
{
	return (struct parts){
		.socket = &tcp_stream_ops,
		.dialer = &direct_dialer_ops,
		.name_dialer = &eyeballs_dialer_ops,
		.proxy_dialer = &via_dialer_ops,
		.accept_dialer = &accept_dialer_ops,
		.proto = &raw_proto_ops,
		.http = &http_forward_proto_ops,
		.associate = &associate_proto_ops,
		.ask = resolve_ask,
		.datagrams = &datagrams_ops,
		.dns = &dns_proto_ops,
	};
}

static void add(struct listener *l, const struct learner_ops *ops, const void *conf)
{
	l->learners[l->n_learners++] = (struct learner){ .ops = ops, .conf = conf };
}

static const struct socks_conf socks = { 0 };
static const struct socks_conf socks_shared = { .shared = true };

/* Those that need no bytes of the client. */
static void add_target(struct listener *l, const struct listener_config *c)
{
	switch (c->mode) {
	case LISTENER_TPROXY:
		add(l, &tproxy_learner_ops, NULL);
		return;
	case LISTENER_REDIRECT:
		add(l, &redirect_learner_ops, NULL);
		return;
	case LISTENER_FIXED:
	case LISTENER_PROXY_PROTOCOL:
		if (c->to_name.name)
			add(l, &fixed_name_learner_ops, &c->to_name);
		else if (c->to.family)
			add(l, &fixed_learner_ops, &c->to);
		return;
	case LISTENER_HTTP:
	case LISTENER_SOCKS:
	case LISTENER_HTTPS:
	case LISTENER_MIXED:
	case LISTENER_DNS:
		return;
	}
}

/* Those whose clients know that they speak to limpid. */
static void add_greeting(struct listener *l, const struct listener_config *c)
{
	switch (c->mode) {
	case LISTENER_HTTP:
	case LISTENER_HTTPS: /* behind its tls */
		add(l, &http_proxy_learner_ops, NULL);
		return;
	case LISTENER_SOCKS:
		add(l, &socks_learner_ops, &socks);
		return;
	case LISTENER_MIXED: /* each leaves to the next what does not begin as its own */
		add(l, &socks_learner_ops, &socks_shared);
		add(l, &http_proxy_learner_ops, NULL);
		return;
	case LISTENER_TPROXY:
	case LISTENER_REDIRECT:
	case LISTENER_FIXED:
	case LISTENER_PROXY_PROTOCOL:
		return;
	case LISTENER_DNS:
		add(l, &dns_learner_ops, NULL);
		return;
	}
}

void registry_set_learners(struct listener *l, const struct listener_config *c)
{
	l->n_learners = 0;
	l->users = c->users;
	l->targets = c->targets;
	add_target(l, c); /* what the kernel knows of a connection is of its sender */
	if (c->proxy)
		add(l, &proxy_header_learner_ops, &c->proxy_header);
	if (c->tls.layer.conf)
		add(l, &tls_accept_learner_ops, &c->tls);
	add_greeting(l, c);
	if (c->targets)
		add(l, &sniff_target_learner_ops, NULL);
	if (c->protocols)
		add(l, &sniff_learner_ops, &c->protocols);
}
