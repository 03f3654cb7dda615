/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A header of the PROXY protocol stands before all else, and only who is
 * trusted may send one: what another sends is never read as one.  Required: without a header
 * there is no flow.  Optional: the first bytes that can be no header are the client's own, and a
 * client that says nothing in timeouts.sniff has sent none.  What has begun as a header must end
 * as one in either case.
 */
#include <stdlib.h>

#include "core/flow.h"
#include "core/proxy_facts.h"
#include "learn/learn.h"

static enum learn_result fail(struct flow *f, enum why why)
{
	f->why = why;
	return LEARN_FAILED;
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
	if (h->datagram && !conf->any_transport)
		return fail(f, WHY_GREETING);
	if (facts_introduce(&f->facts, h) < 0)
		return fail(f, WHY_INTERNAL);
	if (h->source.family)
		f->translated = false; /* conntrack knows only the sender */
	if (conf->names_target)
		take_target(f, &h->destination);
	if (conf->names_target && h->source.family && flow_is_named_back(f))
		return fail(f, WHY_LOOP);
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

	if (!proxy_header_trusts(conf, &f->facts.client))
		return conf->required ? fail(f, WHY_UNTRUSTED) : LEARN_DONE;
	switch (proxy_header_parse(look, &h)) {
	case CODEC_DONE:
		return take(f, conf, &h);
	case CODEC_MORE:
		if (!last)
			return LEARN_MORE;
		if (look.len >= PROXY_HEADER_SURE_BYTES)
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
