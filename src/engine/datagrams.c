/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Each address that takes datagrams is a port of its own, and belongs to
 * one worker: a client's session must see all its datagrams, whatever their destination, and
 * the kernel, which looks up TPROXY's UDP sockets without the packet at hand
 * (net/ipv4/netfilter/nf_tproxy_ipv4.c), would spread them over a group of sockets by
 * destination, too.  Ports go round the workers in turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/dns.h"
#include "core/datagram.h"
#include "core/names.h"
#include "engine/config.h"
#include "engine/datagrams.h"
#include "record/flows.h"
#include "sys/netns.h"
#include "sys/udp.h"
#include "sys/udp_raw.h"

#define PORT_DNS 53

struct owned_port {
	struct datagram_config config; /* its descriptors are ours until @port is there */
	struct worker *worker;
	struct datagram_port *port;
};

struct datagrams {
	struct owned_port *ports;
	size_t n;
};

static void decide(void *owner, struct facts *facts, struct span first, struct decision *ret)
{
	struct worker *w = owner;
	struct dns_message m;
	bool dns = facts->target.port == PORT_DNS;

	if (dns)
		dns = dns_parse(first, &m) == CODEC_DONE;
	if (dns)
		facts->protocol = PROTOCOL_DNS;
	if (!facts->host)
		facts->learnt_name =
			names_find(w->realm->names, names_client(&facts->client, facts->inside),
				   &facts->target, loop_now_ms(&w->loop));
	policy_decide(w->realm->snapshot->policy, facts, ret);
	/* a name asked about is not the name of the server: rules do not see it */
	if (dns && !facts->host)
		facts->host = text_dup(span_str(m.name));
	flow_record_datagram_decided(w, facts, ret->verdict);
}

static void ended(void *owner, const struct datagram_report *report)
{
	struct worker *w = owner;
	struct realm *realm = w->realm;

	flow_record_datagram(w, report,
			     atomic_fetch_add_explicit(&realm->next_flow_id, 1,
						       memory_order_relaxed));
}

static void asked(void *owner, struct questions *q, struct span payload)
{
	struct worker *w = owner;

	names_asked(w->realm->names, q, payload);
}

static void replied(void *owner, struct questions *q, const struct addr *client,
		    struct span payload)
{
	struct worker *w = owner;

	names_answered(w->realm->names, q, client, payload, loop_now_ms(&w->loop));
}

const struct datagram_ops datagrams_ops = {
	.decide = decide,
	.asked = asked,
	.replied = replied,
	.ended = ended,
};

struct datagrams *datagrams_new(void)
{
	return NEW0(struct datagrams);
}

static struct owned_port *add(struct datagrams *d, uint16_t index, const char *name, uint32_t mark)
{
	struct owned_port *ports = reallocarray(d->ports, d->n + 1, sizeof(*ports)), *p;

	if (!ports)
		return NULL;
	d->ports = ports;
	p = &ports[d->n++];
	*p = (struct owned_port){ .config = { .listener = index, .name = name, .mark = mark } };
	for (int i = 0; i < 2; i++)
		p->config.listen_fd[i] = p->config.reply_fd[i] = p->config.icmp_fd[i] = -1;
	return p;
}

static int take(int fd, int *ret)
{
	if (fd < 0)
		return fd;
	*ret = fd;
	return 0;
}

/* Clients who address the port, with nothing in front of their replies. */
static const struct datagram_front plain_front = { 0 };

int datagrams_listen(struct datagrams *d, const struct addr *a, uint16_t index,
		     const struct listener_config *l, uint32_t mark, const char **ret_what)
{
	struct owned_port *p = add(d, index, l->name, mark);
	bool addressed = l->proxy && l->proxy_header.names_target;
	int i = a->family == 6, r;

	*ret_what = "memory";
	if (!p)
		return -ENOMEM;
	*ret_what = "udp";
	r = take(udp_listen(a, !addressed, mark), &p->config.listen_fd[i]);
	if (r < 0)
		return r;
	if (l->proxy) {
		udp_apart(p->config.listen_fd[i]);
		p->config.header = &l->proxy_header;
		p->config.to = l->to;
	}
	if (addressed) {
		p->config.front = &plain_front;
		return 0;
	}
	*ret_what = "raw udp";
	r = take(udp_raw_reply(a->family, mark), &p->config.reply_fd[i]);
	if (r < 0)
		return r;
	*ret_what = "raw icmp";
	return take(udp_raw_icmp(a->family, mark), &p->config.icmp_fd[i]);
}

int datagrams_adopt(struct datagrams *d, const struct netns_sockets *sockets, uint16_t index,
		    const char *name, uint32_t mark)
{
	struct owned_port *p = add(d, index, name, mark);

	for (int i = 0; i < NETNS_FAMILIES; i++) {
		if (!p) {
			close(sockets->udp[i]);
			close(sockets->reply[i]);
			close(sockets->icmp[i]);
			continue;
		}
		p->config.inside = true;
		p->config.listen_fd[i] = sockets->udp[i];
		p->config.reply_fd[i] = sockets->reply[i];
		p->config.icmp_fd[i] = sockets->icmp[i];
	}
	return p ? 0 : -ENOMEM;
}

size_t datagrams_count(const struct datagrams *d)
{
	return d->n;
}

static void config_fill(struct owned_port *p, const struct snapshot *s)
{
	p->config.ops = &datagrams_ops;
	p->config.owner = p->worker;
	/* addresses of another namespace may be the same as ours */
	p->config.own = p->config.inside ? NULL : p->worker->realm->own_ports;
	p->config.limits.sessions = s->limits.sessions;
	p->config.limits.sessions_per_client = s->limits.sessions_per_client;
	p->config.idle.other_ms = s->timeouts.udp_ms;
	p->config.idle.quic_ms = s->timeouts.quic_ms;
	p->config.idle.dns_ms = s->timeouts.dns_ms;
}

int datagrams_open(struct datagrams *d, struct worker *w)
{
	for (size_t i = w->index; i < d->n; i += w->realm->n_workers) {
		struct owned_port *p = &d->ports[i];
		int r;

		p->worker = w;
		config_fill(p, w->realm->snapshot);
		r = datagram_port_new(&w->loop, &p->config, &p->port);
		if (r < 0)
			return r;
	}
	return 0;
}

void datagrams_close(struct datagrams *d, struct worker *w)
{
	for (size_t i = w->index; i < d->n; i += w->realm->n_workers) {
		struct owned_port *p = &d->ports[i];

		if (!p->port)
			continue;
		datagram_port_free(p->port);
		p->port = NULL;
		for (int k = 0; k < 2; k++)
			p->config.listen_fd[k] = p->config.reply_fd[k] = p->config.icmp_fd[k] = -1;
	}
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

void datagrams_free(struct datagrams *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->n; i++)
		for (int k = 0; k < 2; k++) {
			close_if_open(d->ports[i].config.listen_fd[k]);
			close_if_open(d->ports[i].config.reply_fd[k]);
			close_if_open(d->ports[i].config.icmp_fd[k]);
		}
	free(d->ports);
	free(d);
}
