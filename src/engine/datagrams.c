/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/dns.h"
#include "core/datagram.h"
#include "engine/datagrams.h"
#include "record/flows.h"
#include "sys/netns.h"

#define PORT_DNS 53

struct datagrams {
	struct netns_sockets sockets;
	uint16_t listener;
	uint32_t mark;
	struct worker *worker;
	struct datagram_port *port;
};

static void decide(void *owner, struct facts *facts, struct span first, struct decision *ret)
{
	struct datagrams *d = owner;
	struct dns_message m;
	bool dns = facts->target.port == PORT_DNS;

	*ret = (struct decision){ .final = true, .verdict = dns ? VERDICT_ACCEPT : VERDICT_REJECT };
	if (dns && dns_parse(first, &m) == CODEC_DONE) {
		facts->protocol = PROTOCOL_DNS;
		facts->host = text_dup(span_str(m.name));
	}
	flow_record_datagram_decided(d->worker, facts, ret->verdict);
}

static void ended(void *owner, const struct datagram_report *report)
{
	struct datagrams *d = owner;
	struct realm *realm = d->worker->realm;

	flow_record_datagram(d->worker, report,
			     atomic_fetch_add_explicit(&realm->next_flow_id, 1,
						       memory_order_relaxed));
}

static const struct datagram_ops ops = { .decide = decide, .ended = ended };

int datagrams_new(const struct netns_sockets *sockets, uint16_t listener, uint32_t mark,
		  struct datagrams **ret)
{
	struct datagrams *d = NEW0(struct datagrams);

	if (!d)
		return -ENOMEM;
	d->sockets = *sockets;
	d->listener = listener;
	d->mark = mark;
	*ret = d;
	return 0;
}

int datagrams_open(struct datagrams *d, struct worker *w)
{
	struct datagram_config c = { .listener = d->listener, .mark = d->mark, .ops = &ops,
				     .owner = d };
	int r;

	for (int i = 0; i < NETNS_FAMILIES; i++) {
		c.listen_fd[i] = d->sockets.udp[i];
		c.reply_fd[i] = d->sockets.reply[i];
		c.icmp_fd[i] = d->sockets.icmp[i];
	}
	d->worker = w;
	r = datagram_port_new(&w->loop, &c, &d->port);
	if (r < 0)
		errno = -r;
	return r;
}

void datagrams_close(struct datagrams *d)
{
	datagram_port_free(d->port);
	d->port = NULL;
}

void datagrams_free(struct datagrams *d)
{
	if (!d)
		return;
	free(d);
}
