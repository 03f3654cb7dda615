/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The server is to see the client's ip:port, its ip, or our own address.
 * What cannot be had falls to the next, counted and recorded, unless the rule is strict:
 * the same 4-tuple may still be alive (a client that reset and came back at once), the client
 * may live on this host and own its port, REDIRECT may send packets of that 4-tuple back here,
 * the server may live on this host and answer the client's address directly, or the privilege
 * may be missing.
 *
 * A TIME_WAIT of the same 4-tuple (the client had closed first and is back) is taken over by
 * connect(2) where TCP timestamps are in use; otherwise it is destroyed, which needs
 * CAP_NET_ADMIN.  The client itself does not keep it any more, or it could not be back.
 */
#include <errno.h>

#include "core/flow.h"
#include "core/worker.h"
#include "dial/source.h"
#include "sys/sock.h"
#include "sys/sock_diag.h"

static bool is_about_source(int error)
{
	switch (-error) {
	case EADDRNOTAVAIL:
	case EADDRINUSE:
	case EPERM:
	case EINVAL:
		return true;
	default:
		return false;
	}
}

/* What is known to go to the server at once saves a packet. */
static bool speaks_first(const struct flow *f)
{
	return f->plan.proxy_header || f->plan.via || f->served ||
	       (f->decision.final && (f->look.len || f->view.len));
}

static unsigned int how(const struct flow *f, bool keep_port)
{
	return (keep_port ? SOCK_KEEP_PORT : 0) | (speaks_first(f) ? SOCK_SPEAK_FIRST : 0);
}

/* The 4-tuple is taken: by what is left of the client's last connection? */
static int connect_again(struct flow *f, const struct addr *target)
{
	if (sock_diag_end_time_wait(&f->facts.client, target) < 0)
		return -EADDRNOTAVAIL;
	f->worker->stats.time_wait_ended++;
	return sock_connect(target, &f->facts.client, how(f, true), f->snapshot->mark,
			    f->worker->realm->maker);
}

static int connect_from(struct flow *f, const struct addr *target, enum source_got want)
{
	const struct addr *client = &f->facts.client;
	bool own = want == SOURCE_GOT_OWN;
	int fd;

	if (!own && client->family != target->family)
		return -EADDRNOTAVAIL;
	if (want == SOURCE_GOT_EXACT && f->translated)
		return -EADDRNOTAVAIL;
	if (!own && f->snapshot->inbound && sock_ip_is_local(target) && !sock_ip_is_local(client))
		return -EADDRNOTAVAIL;
	fd = sock_connect(target, own ? NULL : client, how(f, want == SOURCE_GOT_EXACT),
			  f->snapshot->mark, f->worker->realm->maker);
	if (fd == -EADDRNOTAVAIL && want == SOURCE_GOT_EXACT)
		fd = connect_again(f, target);
	return fd;
}

int source_connect(struct flow *f, const struct addr *target, const struct plan *plan,
		   enum source_got *ret)
{
	struct stats *stats = &f->worker->stats;
	enum source_got want = SOURCE_GOT_OWN;
	int fd = -EADDRNOTAVAIL;

	/* the kernel takes 0.0.0.0 and :: for this host, which rules about it do not know */
	if (addr_is_unspecified(target))
		return -EHOSTUNREACH;
	switch (plan->source) {
	case SOURCE_KEEP:
		want = SOURCE_GOT_EXACT;
		fd = connect_from(f, target, want);
		if (fd >= 0 || !is_about_source(fd) || plan->strict)
			break;
		stats->source_fell_port++;
		__attribute__((fallthrough));
	case SOURCE_KEEP_ADDRESS:
		want = SOURCE_GOT_ADDRESS;
		fd = connect_from(f, target, want);
		if (fd >= 0 || !is_about_source(fd) || plan->strict)
			break;
		stats->source_fell_own++;
		__attribute__((fallthrough));
	case SOURCE_OWN:
		want = SOURCE_GOT_OWN;
		fd = connect_from(f, target, want);
		break;
	}
	if (fd < 0)
		return fd;
	*ret = want;
	if (speaks_first(f)) /* of several attempts, any */
		f->server.opening = END_SPEAKS_FIRST;
	return fd;
}
