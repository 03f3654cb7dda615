/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A flow's two connections are noted in realm->own_ends, so that a flow
 * whose client is limpid itself is found at once, before it dials again; see there.  Of the
 * accepted connections only those that began on this host are noted: rules turn what is sent
 * from here round to the loopback interface, and what came in by another one cannot be ours.
 *
 * Both flows of a loop end as WHY_LOOP: the one that finds it, and the other when the RST of
 * the first closes it.
 */
#include <errno.h>

#include "base/mem.h"
#include "core/flow.h"
#include "core/knock.h"
#include "core/listener.h"
#include "core/own_ends.h"
#include "core/proxy_facts.h"
#include "core/worker.h"
#include "sys/log.h"
#include "sys/sock.h"

/* A person is told once, with the cure: what follows is in counters and records. */
static void tell_loop(const struct flow *f, const struct addr *from)
{
	char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX], c[ADDR_TEXT_MAX];

	if (atomic_exchange(&f->worker->realm->own_ends->told, true))
		return;
	if (f->facts.proxy) {
		log_line(LOG_WARNING,
			 "loop: limpid's own connection %s => %s came back to it with a header of "
			 "the PROXY protocol from %s: what that names as destination leads here",
			 addr_format(from, a), addr_format(&f->facts.target, b),
			 addr_format(&f->facts.proxy->sender, c));
		return;
	}
	log_line(LOG_WARNING,
		 "loop: limpid's own connection %s => %s came back to it; the rules that send "
		 "connections here must except its mark, 0x%x (firewall.mark), or its user",
		 addr_format(from, a), addr_format(&f->facts.target, b), f->snapshot->mark);
}

/* A client that has knocked may have no socket yet. */
static bool came_by_loopback(const struct flow *f)
{
	return f->knock ? f->knock->by_loopback
			: sock_came_by_loopback(f->client.fd, f->facts.client.family);
}

bool flow_is_named_back(const struct flow *f)
{
	struct own_ends *own = f->worker->realm->own_ends;

	if (!own || !f->facts.target.family ||
	    !own_ends_made(own, &f->facts.client, &f->facts.target))
		return false;
	tell_loop(f, &f->facts.client);
	return true;
}

/* What was dialled from the client's own ip:port is marked as such. */
static int made_add(const struct flow *f, const struct addr *from, const struct addr *to,
		    struct own_end **ret)
{
	bool kept = addr_eq(from, &f->facts.client);

	return own_ends_add(f->worker->realm->own_ends, kept ? OWN_KEPT : OWN_MADE, from, to, ret);
}

/* Has the client dialled the target, which may stand in the configuration only?  Else our own
 * connection there may well have the client's address and port, and is another. */
static bool client_dialled_target(const struct flow *f)
{
	const struct addr *target = &f->facts.target;
	struct addr to;

	if (f->knock || (!sock_local(f->client.fd, &to) && addr_eq(&to, target)))
		return true;
	return !sock_original_target(f->client.fd, f->facts.client.family, &to) &&
	       addr_eq(&to, target);
}

bool flow_came_back(struct flow *f)
{
	struct own_ends *own = f->worker->realm->own_ends;
	const struct addr *client = &f->facts.client, *target = &f->facts.target;

	if (!own || f->listener->inside || !target->family || !came_by_loopback(f) ||
	    !client_dialled_target(f) ||
	    own_ends_add(own, OWN_CAME, client, target, &f->came) <= 0)
		return false;
	tell_loop(f, client);
	return true;
}

static int dialled_from(const struct flow *f, struct addr *ret)
{
	if (f->source_got != SOURCE_GOT_EXACT)
		return sock_local(f->server.fd, ret);
	*ret = f->facts.client;
	return 0;
}

bool flow_goes_round(struct flow *f)
{
	struct own_ends *own = f->worker->realm->own_ends;
	struct addr from;

	if (!own || dialled_from(f, &from) < 0 ||
	    made_add(f, &from, &f->facts.target, &f->made) <= 0)
		return false;
	tell_loop(f, &from);
	return true;
}

void flow_attempt_begin(struct flow *f)
{
	if (f->worker->realm->own_ends)
		own_ends_dial_begin(f->worker->realm->own_ends);
}

int flow_attempt_end(struct flow *f, int fd, const struct addr *target, struct own_end **ret)
{
	struct own_ends *own = f->worker->realm->own_ends;
	struct addr from;
	int r = 0;

	if (!own)
		return 0;
	if (fd >= 0 && !sock_local(fd, &from) &&
	    made_add(f, &from, target, ret) > 0) {
		tell_loop(f, &from);
		r = -ELOOP;
	}
	own_ends_dial_end(own);
	return r;
}

bool flow_attempt_forget(struct flow *f, struct own_end *e)
{
	return e && own_ends_del(f->worker->realm->own_ends, e);
}

int flow_dial(struct flow *f)
{
	struct own_ends *own = f->worker->realm->own_ends;
	int r;

	/* the dialers of names and of proxies announce each attempt by themselves, and who waits
	 * makes none */
	if (!own || facts_lack_address(&f->facts) || f->plan.via || f->facts.bind)
		return f->dialer->dial(f);
	own_ends_dial_begin(own);
	r = f->dialer->dial(f);
	if (!r && end_is_open(&f->server) && flow_goes_round(f))
		r = -ELOOP;
	own_ends_dial_end(own);
	return r;
}

bool flow_was_loop(struct flow *f)
{
	struct own_ends *own = f->worker->realm->own_ends;
	bool came = own && own_ends_del(own, TAKE_PTR(f->came));
	bool made = own && own_ends_del(own, TAKE_PTR(f->made));

	return came || made;
}
