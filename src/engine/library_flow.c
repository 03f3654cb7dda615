/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the public headers say about flows: accessors, and events.  The records come first, so
 * that a callback that takes long does not delay them.
 */
#include <assert.h>
#include <errno.h>

#include "core/flow.h"
#include "core/listener.h"
#include "core/worker.h"
#include "engine/library.h"
#include "record/flows.h"
#include "sys/sock.h"

uint64_t limpid_flow_id(const struct limpid_flow *flow)
{
	return flow_private(flow)->id;
}

const char *limpid_flow_listener(const struct limpid_flow *flow)
{
	return flow_private(flow)->listener->name;
}

static const char *address_text(const struct addr *a, char dst[static ADDR_TEXT_MAX])
{
	dst[0] = '\0';
	return a->family ? addr_format(a, dst) : dst;
}

static_assert(LIMPID_ADDRESS_MAX >= ADDR_TEXT_MAX, "room for any address");

const char *limpid_flow_client(const struct limpid_flow *flow, char dst[LIMPID_ADDRESS_MAX])
{
	return address_text(&flow_private(flow)->facts.client, dst);
}

const char *limpid_flow_server(const struct limpid_flow *flow, char dst[LIMPID_ADDRESS_MAX])
{
	return address_text(&flow_private(flow)->facts.target, dst);
}

static int address_store(const struct addr *a, struct sockaddr_storage *ret)
{
	if (!a->family)
		return -ENOENT;
	sock_store_addr(ret, a);
	return 0;
}

int limpid_flow_client_sockaddr(const struct limpid_flow *flow, struct sockaddr_storage *ret)
{
	return address_store(&flow_private(flow)->facts.client, ret);
}

int limpid_flow_server_sockaddr(const struct limpid_flow *flow, struct sockaddr_storage *ret)
{
	return address_store(&flow_private(flow)->facts.target, ret);
}

const char *limpid_flow_host(const struct limpid_flow *flow)
{
	return flow_private(flow)->facts.host;
}

const char *limpid_flow_rule(const struct limpid_flow *flow)
{
	const struct decision *d = &flow_private(flow)->decision;

	return d->final && d->rule ? d->rule->name : NULL;
}

uint64_t limpid_flow_bytes(const struct limpid_flow *flow, enum limpid_direction direction)
{
	const struct flow *f = flow_private(flow);

	return direction == LIMPID_UP ? f->up.bytes : f->down.bytes;
}

static enum why why_of(const struct limpid_flow *flow)
{
	const struct flow *f = flow_private(flow);

	return flow_is_closed(f) ? f->why : WHY_OPEN;
}

const char *limpid_flow_why(const struct limpid_flow *flow)
{
	return why_word(why_of(flow));
}

const char *limpid_flow_why_text(const struct limpid_flow *flow)
{
	return why_text(why_of(flow));
}

void limpid_flow_set_user(struct limpid_flow *flow, void *user)
{
	flow_private(flow)->user = user;
}

void *limpid_flow_user(const struct limpid_flow *flow)
{
	return flow_private(flow)->user;
}

static const struct limpid *limpid_of(const struct worker *w)
{
	return w->realm->owner;
}

static void accepted(struct worker *w, struct flow *f)
{
	const struct limpid *l = limpid_of(w);

	if (l->events.accepted)
		l->events.accepted(l->events_user, flow_public(f));
}

static void dialling(struct worker *w, struct flow *f)
{
	const struct limpid *l = limpid_of(w);

	if (l->events.dialling)
		l->events.dialling(l->events_user, flow_public(f));
}

static void opened(struct worker *w, struct flow *f)
{
	const struct limpid *l = limpid_of(w);

	if (l->events.opened)
		l->events.opened(l->events_user, flow_public(f));
}

static void decided(struct worker *w, const struct flow *f)
{
	flow_record_observer.decided(w, f);
}

static void end_over(struct worker *w, struct flow *f, const struct end *end)
{
	const struct limpid *l = limpid_of(w);

	if (end == &f->client && l->events.client_finished)
		l->events.client_finished(l->events_user, flow_public(f), end->failed);
	if (end == &f->server && l->events.server_finished)
		l->events.server_finished(l->events_user, flow_public(f), end->failed);
}

/* Somebody wished that a flow ends so: all else is an error. */
static const bool is_wish[WHY_COUNT] = {
	[WHY_FINISHED] = true,	   [WHY_DENIED] = true,	      [WHY_REJECTED] = true,
	[WHY_CLIENT_RESET] = true, [WHY_SERVER_RESET] = true, [WHY_NARROWED] = true,
	[WHY_CLIENT_GONE] = true,  [WHY_SHUTDOWN] = true,
};

static void exchange(struct worker *w, const struct flow *f, const struct http_exchange *x)
{
	flow_record_observer.exchange(w, f, x);
}

static void closed(struct worker *w, const struct flow *f)
{
	const struct limpid *l = limpid_of(w);
	struct limpid_flow *flow = flow_public((struct flow *)f); /* its user pointer may change */

	flow_record_observer.closed(w, f);
	if (l->events.error && !is_wish[f->why])
		l->events.error(l->events_user, flow, why_text(f->why));
	if (l->events.closed)
		l->events.closed(l->events_user, flow);
}

static void listen_failed(const struct realm *realm, const struct listener *listener, int error)
{
	const struct limpid *l = realm->owner;
	char address[ADDR_TEXT_MAX];

	if (l->events.listen_error)
		l->events.listen_error(l->events_user, listener->name,
				       address_text(&listener->address, address), -error);
}

static void dns_answered(struct worker *w, const struct dns_report *r)
{
	flow_record_observer.dns_answered(w, r);
}

static void ending(struct worker *w)
{
	flow_record_observer.ending(w);
}

const struct observer library_observer = {
	.accepted = accepted,
	.dialling = dialling,
	.opened = opened,
	.decided = decided,
	.end_over = end_over,
	.exchange = exchange,
	.closed = closed,
	.dns_answered = dns_answered,
	.listen_failed = listen_failed,
	.ending = ending,
};
