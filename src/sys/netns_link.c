/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  All is said to the kernel in one rtnetlink(7) datagram of many
 * messages, each of which is acknowledged; starting ip(8) instead would cost a third of the
 * time that `limpid run` may take.
 *
 * The host's addresses become addresses of lo, so that the command sees the same source
 * addresses as on the host (its choice between IPv4 and IPv6 depends on them) and connections
 * to the host itself are found, too.  Routes lead to lo only.  What is to be intercepted has
 * to arrive on lo as local; the families differ in how:
 *
 *   IPv4: a unicast route on lo, and one for all that is local in a table of its own, taken by
 *	marked packets.  A local route in the main table would let the command bind any address.
 *   IPv6: the kernel turns unicast routes on lo into "unreachable" (net/ipv6/route.c,
 *	fib6_is_reject()), therefore local routes; binding does not look at those there.
 */
#include <assert.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "sys/netns_link.h"

#define LO_INDEX 1 /* lo is the first interface of every namespace (LOOPBACK_IFINDEX) */
#define MARKED_TABLE 100
#define MESSAGES_MAX (NETNS_HOST_ADDRS_MAX + NETNS_HOST_ROUTES_MAX + 3)
#define MESSAGE_MAX_BYTES 96

/* Messages to be sent at once; what[i] names the one with sequence number i. */
struct batch {
	size_t len_bytes;
	uint32_t count;
	const char *what[MESSAGES_MAX];
	union {
		struct nlmsghdr align;
		char bytes[MESSAGES_MAX * MESSAGE_MAX_BYTES];
	};
};

static struct nlmsghdr *batch_add(struct batch *b, const char *what, uint16_t type,
				  const void *head, size_t head_bytes)
{
	struct nlmsghdr *m = (struct nlmsghdr *)(b->bytes + b->len_bytes);

	*m = (struct nlmsghdr){ .nlmsg_len = (uint32_t)NLMSG_LENGTH(head_bytes),
				.nlmsg_type = type,
				.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE,
				.nlmsg_seq = b->count };
	memcpy(NLMSG_DATA(m), head, head_bytes);
	b->what[b->count++] = what;
	b->len_bytes += NLMSG_ALIGN(m->nlmsg_len);
	return m;
}

static void batch_attr(struct batch *b, struct nlmsghdr *m, uint16_t type, const void *data,
		       size_t len_bytes)
{
	struct rtattr *a = (struct rtattr *)((char *)m + NLMSG_ALIGN(m->nlmsg_len));
	size_t total_bytes = NLMSG_ALIGN(m->nlmsg_len) + RTA_ALIGN(RTA_LENGTH(len_bytes));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len_bytes);
	memcpy(RTA_DATA(a), data, len_bytes);
	b->len_bytes += total_bytes - NLMSG_ALIGN(m->nlmsg_len);
	m->nlmsg_len = (uint32_t)total_bytes;
}

static uint8_t af_of(const struct addr *a)
{
	return a->family == 4 ? AF_INET : AF_INET6;
}

static void add_link_up(struct batch *b)
{
	struct ifinfomsg head = { .ifi_index = LO_INDEX,
				  .ifi_flags = IFF_UP,
				  .ifi_change = IFF_UP };

	batch_add(b, "lo up", RTM_NEWLINK, &head, sizeof(head));
}

static void add_address(struct batch *b, const struct addr *a)
{
	struct ifaddrmsg head = { .ifa_family = af_of(a),
				  .ifa_prefixlen = (uint8_t)(8 * addr_ip_len(a)),
				  .ifa_flags = a->family == 6 ? IFA_F_NODAD : 0,
				  .ifa_index = LO_INDEX };
	struct nlmsghdr *m = batch_add(b, "an address on lo", RTM_NEWADDR, &head, sizeof(head));

	batch_attr(b, m, IFA_LOCAL, a->ip, addr_ip_len(a));
	batch_attr(b, m, IFA_ADDRESS, a->ip, addr_ip_len(a));
}

static void add_route(struct batch *b, const struct netns_route *r)
{
	struct rtmsg head = { .rtm_family = af_of(&r->net),
			      .rtm_dst_len = r->prefix_bits,
			      .rtm_table = RT_TABLE_MAIN,
			      .rtm_protocol = RTPROT_STATIC,
			      .rtm_scope = r->net.family == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
			      .rtm_type = r->net.family == 4 ? RTN_UNICAST : RTN_LOCAL };
	struct nlmsghdr *m = batch_add(b, "a route on lo", RTM_NEWROUTE, &head, sizeof(head));
	uint32_t index = LO_INDEX;

	batch_attr(b, m, RTA_DST, r->net.ip, addr_ip_len(&r->net));
	batch_attr(b, m, RTA_PREFSRC, r->source.ip, addr_ip_len(&r->source));
	batch_attr(b, m, RTA_OIF, &index, sizeof(index));
}

static void add_marked(struct batch *b, uint32_t mark)
{
	struct fib_rule_hdr rule = { .family = AF_INET,
				     .table = MARKED_TABLE,
				     .action = FR_ACT_TO_TBL };
	struct rtmsg route = { .rtm_family = AF_INET,
			       .rtm_table = MARKED_TABLE,
			       .rtm_protocol = RTPROT_STATIC,
			       .rtm_scope = RT_SCOPE_HOST,
			       .rtm_type = RTN_LOCAL };
	uint32_t index = LO_INDEX;
	struct nlmsghdr *m;

	m = batch_add(b, "a policy rule (kernel without CONFIG_IP_MULTIPLE_TABLES?)", RTM_NEWRULE,
		      &rule, sizeof(rule));
	batch_attr(b, m, FRA_FWMARK, &mark, sizeof(mark));
	m = batch_add(b, "a local route on lo", RTM_NEWROUTE, &route, sizeof(route));
	batch_attr(b, m, RTA_OIF, &index, sizeof(index));
}

/* Read the acknowledgements; the first refusal counts.  One the kernel has made itself is fine. */
static int read_acks(int fd, const struct batch *b, const char **ret_what)
{
	for (uint32_t acks = 0; acks < b->count;) {
		union {
			struct nlmsghdr align;
			char bytes[8192];
		} in;
		ssize_t n = recv(fd, &in, sizeof(in), 0);
		struct nlmsghdr *m = &in.align;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (size_t left = (size_t)n; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
			const struct nlmsgerr *e = NLMSG_DATA(m);

			if (m->nlmsg_type != NLMSG_ERROR || m->nlmsg_seq >= b->count)
				continue;
			acks++;
			if (!e->error || e->error == -EEXIST)
				continue;
			*ret_what = b->what[m->nlmsg_seq];
			return e->error;
		}
	}
	return 0;
}

int netns_link_setup(const struct netns_host *h, uint32_t mark, const char **ret_what)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	_cleanup_free_ struct batch *b = NEW0(struct batch);
	static_assert(sizeof(struct rtmsg) + 2 * RTA_SPACE(16) + RTA_SPACE(4) + NLMSG_HDRLEN <=
			      MESSAGE_MAX_BYTES,
		      "the longest message fits");

	*ret_what = "rtnetlink";
	if (!b)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	add_link_up(b);
	for (size_t i = 0; i < h->addrs_len; i++)
		if (h->has_v6 || h->addrs[i].family == 4)
			add_address(b, &h->addrs[i]);
	for (size_t i = 0; i < h->routes_len; i++)
		add_route(b, &h->routes[i]);
	add_marked(b, mark);
	if (send(fd, b->bytes, b->len_bytes, 0) < 0)
		return -errno;
	return read_acks(fd, b, ret_what);
}
