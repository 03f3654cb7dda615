/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Answers of a name server that a client asks by TCP, through us: each has
 * its length in front (RFC 1035 section 4.2.2).  A filter in the down lane puts one after the
 * other together beside what goes on, and changes nothing; it leaves when what comes is no
 * answer.  It stands next to the client, so it hears what the client is told.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "codec/dns.h"
#include "core/filter.h"
#include "core/flow.h"
#include "core/names.h"
#include "core/worker.h"

#define PORT_DNS 53
#define LENGTH_BYTES 2

/* @message: its length and as much of it as has come. */
struct hearer {
	struct filter filter;
	struct flow *flow;
	struct buf message;
};

/* Bytes of the message that has begun, length included; 0: not known yet. */
static size_t whole_bytes(const struct buf *m)
{
	return m->len < LENGTH_BYTES ? 0 : LENGTH_BYTES + (size_t)(m->data[0] << 8 | m->data[1]);
}

/* False: it is no answer. */
static bool hear(struct hearer *h)
{
	const struct flow *f = h->flow;
	struct span answer = span_skip(buf_span(&h->message), LENGTH_BYTES);
	struct dns_message m;

	if (dns_parse(answer, &m) != CODEC_DONE || !m.response)
		return false;
	names_learn(f->worker->realm->names, &f->facts.client, answer,
		    loop_now_ms(&f->worker->loop));
	return true;
}

/* Take what is still missing of a message from @in, or of its length.  Return: bytes; 0: no
 * memory. */
static size_t take(struct hearer *h, struct span in)
{
	size_t whole = whole_bytes(&h->message);
	size_t missing = (whole ? whole : LENGTH_BYTES) - h->message.len;
	struct span part = span_head(in, missing);

	return buf_append(&h->message, part, LENGTH_BYTES + UINT16_MAX) < 0 ? 0 : part.len;
}

static enum filter_verdict hearer_data(struct filter *f, struct span in, bool end, struct buf *out)
{
	struct hearer *h = container_of(f, struct hearer, filter);

	while (in.len && !f->leave) {
		size_t n = take(h, in), whole = whole_bytes(&h->message);

		in = span_skip(in, n);
		if (!n || (whole && whole < LENGTH_BYTES + DNS_HEADER_BYTES))
			f->leave = true;
		else if (h->message.len != whole)
			continue;
		else if (hear(h))
			buf_done(&h->message);
		else
			f->leave = true;
	}
	f->leave |= end;
	return FILTER_PASS;
}

static void hearer_free(struct filter *f)
{
	struct hearer *h = container_of(f, struct hearer, filter);

	buf_done(&h->message);
	free(h);
}

static const struct filter_ops hearer_ops = {
	.name = "names",
	.data = hearer_data,
	.free = hearer_free,
};

void flow_hear_names(struct flow *f)
{
	struct hearer *h;

	if (f->facts.target.port != PORT_DNS || !f->worker->realm->names)
		return;
	h = NEW0(struct hearer);
	if (!h)
		return;
	h->filter.ops = &hearer_ops;
	h->flow = f;
	list_add_tail(&f->down.filters, &h->filter.link);
}
