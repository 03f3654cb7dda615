/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "sys/netns_host.h"
#include "sys/sockaddr.h"

#ifndef RTF_REJECT
#define RTF_REJECT 0x0200 /* linux/route.h */
#endif

static bool is_link_local(const struct addr *a)
{
	if (a->family == 4)
		return a->ip[0] == 169 && a->ip[1] == 254;
	return a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

static bool has_addr(const struct netns_host *h, const struct addr *a)
{
	for (size_t i = 0; i < h->addrs_len; i++)
		if (addr_ip_eq(&h->addrs[i], a))
			return true;
	return false;
}

static bool add_addr(struct netns_host *h, const struct addr *a)
{
	if (has_addr(h, a))
		return true;
	if (h->addrs_len == NETNS_HOST_ADDRS_MAX)
		return false;
	h->addrs[h->addrs_len++] = *a;
	return true;
}

/* Which source would the host use to reach @target?  False: it would not reach it. */
static bool source_for(const struct addr *target, struct addr *ret)
{
	_cleanup_close_ int fd =
		socket(target->family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	union sockaddr_any s;
	socklen_t len = sizeof(s);

	if (fd < 0 || connect(fd, &s.sa, sockaddr_from_addr(&s, target)) < 0 ||
	    getsockname(fd, &s.sa, &len) < 0)
		return false;
	sockaddr_to_addr(&s, ret);
	ret->port = 0;
	return !addr_is_loopback(ret) && !is_link_local(ret);
}

static void add_route(struct netns_host *h, const struct addr *net, uint8_t prefix_bits,
		      const struct addr *probe)
{
	struct netns_route r = { .net = *net, .prefix_bits = prefix_bits };

	if (h->routes_len < NETNS_HOST_ROUTES_MAX && source_for(probe, &r.source) &&
	    add_addr(h, &r.source))
		h->routes[h->routes_len++] = r;
}

/* A neighbour in @net: itself where it is one address only, else its last bit set. */
static void add_network(struct netns_host *h, struct addr *net, uint8_t prefix_bits)
{
	struct addr probe = *net;

	if (is_link_local(net))
		return;
	probe.port = 9;
	if (prefix_bits < 8 * addr_ip_len(net))
		probe.ip[addr_ip_len(net) - 1] |= 1;
	add_route(h, net, prefix_bits, &probe);
}

/* Lines of /proc/net/route: interface, destination, gateway, flags, ..., mask at the eighth. */
static void look_at_routes_v4(struct netns_host *h)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/net/route", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		struct addr net = { .family = 4 };
		uint32_t dst, mask;
		unsigned int flags;

		if (sscanf(line, "%*s %" SCNx32 " %*x %x %*d %*d %*d %" SCNx32, &dst, &flags,
			   &mask) != 3)
			continue;
		if (!(flags & RTF_UP) || flags & RTF_REJECT)
			continue;
		memcpy(net.ip, &dst, 4);
		add_network(h, &net, (uint8_t)__builtin_popcount(mask));
	}
}

/* Lines of /proc/net/ipv6_route: net, bits, source, bits, gateway, 4 numbers (flags last), name. */
static void look_at_routes_v6(struct netns_host *h)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/net/ipv6_route", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		struct addr net = { .family = 6 };
		char hex[33], name[IFNAMSIZ];
		unsigned int bits, flags;
		bool good = true;

		if (sscanf(line, "%32s %2x %*s %*x %*s %*x %*x %*x %8x %15s", hex, &bits, &flags,
			   name) != 4)
			continue;
		for (int i = 0; i < 16; i++)
			good &= sscanf(hex + 2L * i, "%2hhx", &net.ip[i]) == 1;
		if (!good || !(flags & RTF_UP) || flags & RTF_REJECT || !strcmp(name, "lo") ||
		    net.ip[0] == 0xff)
			continue;
		add_network(h, &net, (uint8_t)bits);
	}
}

static int look_at_addrs(struct netns_host *h)
{
	struct ifaddrs *list;

	if (getifaddrs(&list) < 0)
		return -errno;
	for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
		union sockaddr_any s;
		struct addr a;

		if (!i->ifa_addr || !(i->ifa_flags & IFF_UP))
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
			memcpy(&s.in, i->ifa_addr, sizeof(s.in));
		else if (i->ifa_addr->sa_family == AF_INET6)
			memcpy(&s.in6, i->ifa_addr, sizeof(s.in6));
		else
			continue;
		sockaddr_to_addr(&s, &a);
		if (!addr_is_loopback(&a) && !is_link_local(&a))
			add_addr(h, &a);
	}
	freeifaddrs(list);
	return 0;
}

static bool answers_loopback_v6(void)
{
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 s = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	return fd >= 0 && !bind(fd, (struct sockaddr *)&s, sizeof(s));
}

int netns_host_look(struct netns_host *h)
{
	/* Two addresses of the public internet: who routes these has a default. */
	static const struct addr far_v4 = { .family = 4, .port = 9, .ip = { 8, 8, 8, 8 } };
	static const struct addr far_v6 = {
		.family = 6, .port = 9, .ip = { 0x20, 0x01, 0x48, 0x60, 0x48, 0x60, [15] = 1 }
	};
	static const struct addr all_v4 = { .family = 4 }, all_v6 = { .family = 6 };
	size_t before;

	*h = (struct netns_host){ .has_v6 = answers_loopback_v6() };
	/* The sources of the routes first: the room is limited. */
	add_route(h, &all_v4, 0, &far_v4);
	if (!h->routes_len)
		look_at_routes_v4(h);
	before = h->routes_len;
	if (h->has_v6)
		add_route(h, &all_v6, 0, &far_v6);
	if (h->has_v6 && h->routes_len == before)
		look_at_routes_v6(h);
	return look_at_addrs(h);
}
