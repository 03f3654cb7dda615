/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Clients of a DNS listener ask by UDP (dns_udp.c) or TCP (dns_stream.c);
 * here each query is looked at, put to policy, and given to servers (dns_ask.c) or answered at
 * once.  The name that is asked for is the flow's host, so `domain` is about it; the target is
 * the listener itself, because that is what the client's packets say after a REDIRECT.  Policy's
 * reject is REFUSED, its deny is silence.  Every query has one record.
 *
 * Nothing is kept between queries, so any worker may take the next datagram of a socket that all
 * share.  What waits for servers is bounded by limits.lookups of each thread; a query more gets
 * SERVFAIL at once.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/dns_report.h"
#include "core/names.h"
#include "proto/dns_desk.h"

#define OPCODE_QUERY 0
#define UDP_PLAIN_BYTES 512 /* RFC 1035 section 4.2.1 */
#define UDP_MAX_BYTES 4096  /* what asks for more is asked to come by TCP */

static void client_send(const struct dns_client *c, struct span answer)
{
	struct udp_packet p = { .from = c->to,
				.to = c->sender.family ? c->sender : c->from,
				.payload = answer };

	if (c->stream)
		dns_stream_answer(c->stream, answer);
	else
		(void)udp_answer(c->socket->fd, &p); /* a full queue loses it, as a network would */
}

static struct dns_report report_of(const struct dns_client *c, const struct dns_message *m)
{
	return (struct dns_report){
		.client = c->from,
		.target = c->to,
		.sender = c->sender,
		.network = c->stream ? NETWORK_TCP : NETWORK_UDP,
		.listener = c->listener_name,
		.query = m,
	};
}

static void report(struct dns_desk *d, const struct dns_report *r)
{
	const struct observer *o = d->worker->realm->observer;

	if (o->dns_answered)
		o->dns_answered(d->worker, r);
}

/* Answer without records, or say nothing, and have it recorded. */
static void refuse(struct dns_desk *d, const struct dns_client *c, struct span query,
		   enum dns_rcode rcode, struct dns_report *r)
{
	uint8_t answer[DNS_EMPTY_CAP];
	const struct dns_message *m = r->query;

	if (r->why != WHY_DENIED) {
		r->answer = span_of(answer, dns_empty_answer(query, m->question_end, rcode, false,
							     dns_edns(query, m), answer));
		client_send(c, r->answer);
	}
	report(d, r);
}

static void decide(const struct dns_desk *d, const struct dns_client *c,
		   const struct dns_message *m, struct decision *ret)
{
	struct facts facts = {
		.network = c->stream ? NETWORK_TCP : NETWORK_UDP,
		.protocol = PROTOCOL_DNS,
		.listener = c->listener,
		.settled = true,
		.client = c->from,
		.target = c->to,
		.host = (char *)m->name,
	};

	policy_decide(d->worker->realm->snapshot->policy, &facts, ret);
}

/* What cannot be passed on: RFC 1035 section 4.1.1; more than one question has no meaning, and
 * transfers are more than one answer. */
static enum dns_rcode query_fault(struct span query, enum codec_result parsed,
				  const struct dns_message *m)
{
	if (parsed != CODEC_DONE)
		return DNS_FORMERR;
	if (m->opcode != OPCODE_QUERY || m->type == DNS_TYPE_AXFR || m->type == DNS_TYPE_IXFR)
		return DNS_NOTIMP;
	return m->n_questions != 1 || dns_records_fault(query, m) ? DNS_FORMERR : DNS_NOERROR;
}

/* The longest answer that is sent to a client. */
static uint16_t takes_bytes(const struct dns_client *c, uint16_t edns_bytes)
{
	if (c->stream)
		return UINT16_MAX;
	if (!edns_bytes)
		return UDP_PLAIN_BYTES;
	return edns_bytes < UDP_MAX_BYTES ? edns_bytes : UDP_MAX_BYTES;
}

static void query_ask(struct dns_desk *d, const struct dns_client *c, struct span query,
		      struct dns_report *r)
{
	struct dns_edns edns = dns_edns(query, r->query);
	struct dns_ask *a = dns_ask_new(d, query, r->query);

	if (!a) {
		r->why = WHY_LIMIT;
		refuse(d, c, query, DNS_SERVFAIL, r);
		return;
	}
	a->client = *c;
	a->rule = r->rule;
	a->edns = edns;
	a->client.takes_bytes = takes_bytes(c, edns.takes_bytes);
	if (c->stream)
		dns_stream_asks(c->stream, a);
	dns_ask_begin(a);
}

void dns_turn_away(struct dns_desk *d, const struct dns_client *c, enum why why)
{
	struct dns_message m = { 0 };
	struct dns_report r = report_of(c, &m);

	r.verdict = VERDICT_REJECT;
	r.why = why;
	report(d, &r);
}

/* Is it a question of limpid's own, turned round by rules that should have let it pass? */
static bool came_back(const struct dns_desk *d, const struct dns_client *c)
{
	const struct realm *realm = d->worker->realm;

	return c->socket && !c->socket->header && realm->own_ports &&
	       own_ports_came_back(realm->own_ports, &c->from, &c->to, realm->snapshot->mark);
}

void dns_query(struct dns_desk *d, const struct dns_client *c, struct span query)
{
	struct dns_message m = { .question_end = DNS_HEADER_BYTES };
	struct dns_report r = report_of(c, &m);
	enum codec_result parsed = dns_parse(query, &m);
	enum dns_rcode fault;
	struct decision decision;

	if (query.len < DNS_HEADER_BYTES || m.response)
		return; /* answering answers would never end */
	fault = query_fault(query, parsed, &m);
	if (came_back(d, c)) {
		r.verdict = VERDICT_REJECT;
		r.why = WHY_LOOP;
		refuse(d, c, query, fault ? fault : DNS_SERVFAIL, &r);
		return;
	}
	decide(d, c, &m, &decision);
	r.rule = decision.rule;
	r.verdict = decision.final ? decision.verdict : VERDICT_DENY;
	switch (r.verdict) {
	case VERDICT_DENY:
		r.why = WHY_DENIED;
		refuse(d, c, query, DNS_REFUSED, &r);
		return;
	case VERDICT_REJECT:
		r.why = WHY_REJECTED;
		refuse(d, c, query, DNS_REFUSED, &r);
		return;
	case VERDICT_ACCEPT:
		break;
	}
	r.why = WHY_GREETING;
	if (fault)
		refuse(d, c, query, fault, &r);
	else
		query_ask(d, c, query, &r);
}

void dns_answered(struct dns_ask *a, uint8_t *answer, size_t len)
{
	struct dns_desk *d = a->desk;
	struct dns_report r = report_of(&a->client, &a->query);
	uint8_t empty[DNS_EMPTY_CAP];
	struct span query = span_of(a->bytes + 2, a->n_bytes - 2), sent;

	a->bytes[2] = (uint8_t)(a->query.id >> 8);
	a->bytes[3] = (uint8_t)a->query.id;
	r.server = a->server;
	r.rule = a->rule;
	r.why = len ? WHY_FINISHED : WHY_NAME_FAILED;
	if (len) {
		answer[0] = a->bytes[2];
		answer[1] = a->bytes[3];
		r.answer = sent = span_of(answer, len);
	} else {
		r.answer = sent =
			span_of(empty, dns_empty_answer(query, a->query.question_end, DNS_SERVFAIL,
							false, a->edns, empty));
	}
	if (sent.len > a->client.takes_bytes)
		sent = span_of(empty, dns_empty_answer(query, a->query.question_end, answer[3] & 15,
						       true, a->edns, empty));
	/* before the client can use it */
	if (len)
		names_learn(d->worker->realm->names, &a->client.from, r.answer,
			    loop_now_ms(&d->worker->loop));
	if (a->client.stream)
		dns_stream_forget(a->client.stream, a);
	client_send(&a->client, sent);
	report(d, &r);
	dns_ask_free(a);
}
