/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients speak TLS with limpid itself.  The ClientHello has been read before it is known to be
 * one, so it is given back, and the layer that is pushed then reads it as its first bytes; what
 * learners behind this one see comes out of the layer.
 *
 * A client that took the port for one of plain HTTP gets an answer that it can show to a person.
 */
#include <assert.h>
#include <errno.h>

#include "core/flow.h"
#include "learn/learn.h"

#define TLS_HANDSHAKE 0x16 /* RFC 8446 section 5.1 */

#define SORRY "This port speaks TLS: it is a proxy to be addressed as https://, not http://.\n"

static const char plain_answer[] = "HTTP/1.1 400 Bad Request\r\n"
				   "Content-Type: text/plain\r\n"
				   "Content-Length: 78\r\n"
				   "Connection: close\r\n"
				   "\r\n" SORRY;
static_assert(sizeof(SORRY) - 1 == 78, "what Content-Length says");

static enum learn_result fail(struct flow *f, enum why why)
{
	f->why = why;
	return LEARN_FAILED;
}

/* No TLS. */
static enum learn_result refuse(struct flow *f, uint8_t first)
{
	if (first < 'A' || first > 'Z') /* no method of HTTP either */
		return fail(f, WHY_CLIENT_TLS);
	if (flow_reply(f, span_str(plain_answer)) < 0)
		return fail(f, WHY_CLIENT_RESET);
	flow_farewell(f, WHY_CLIENT_TLS);
	return LEARN_FAILED;
}

static enum learn_result begin(struct flow *f, const struct layer *layer, struct span look)
{
	if (end_unread(&f->client, look) < 0 || layer->ops->push(&f->client, layer->conf) < 0)
		return fail(f, WHY_INTERNAL);
	flow_consume(f, look.len);
	return LEARN_OPENING;
}

static enum learn_result tls_accept_learn(struct flow *f, const struct learner *l, struct span look,
					  bool last)
{
	const struct tls_accept *conf = l->conf;

	if (!f->opening) {
		if (!look.len)
			return last ? fail(f, WHY_CLIENT_GONE) : LEARN_MORE;
		if (look.data[0] != TLS_HANDSHAKE)
			return conf->optional ? LEARN_DONE : refuse(f, look.data[0]);
		if (begin(f, &conf->layer, look) == LEARN_FAILED)
			return LEARN_FAILED;
	}
	switch (conf->layer.ops->open(&f->client)) {
	case 0:
		return LEARN_DONE;
	case -EAGAIN:
		return LEARN_OPENING;
	case -ECONNRESET:
		return fail(f, WHY_CLIENT_RESET);
	default:
		flow_farewell(f, WHY_CLIENT_TLS); /* so that the alert is not lost to a RST */
		return LEARN_FAILED;
	}
}

const struct learner_ops tls_accept_learner_ops = {
	.name = "tls",
	.consumes = true,
	.learn = tls_accept_learn,
};
