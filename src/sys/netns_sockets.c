/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "sys/ip_raw.h"
#include "sys/netns_sockets.h"
#include "sys/nfqueue.h"

#define BACKLOG 4096
#define NETNS_QUEUE_HEAD 128 /* of a SYN: all that can be */

#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74 /* linux/in6.h */
#endif

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* A socket that may use any address and whose packets carry @mark. */
static int open_transparent(int family, int type, int protocol, uint32_t mark)
{
	_cleanup_close_ int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	int r;

	if (fd < 0)
		return -errno;
	if (family == AF_INET)
		r = set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
	else
		r = set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
	if (!r && family == AF_INET6 && type != SOCK_RAW)
		r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!r)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	return r < 0 ? r : TAKE_FD(fd);
}

static int bind_listener(int fd, int family)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(NETNS_LISTEN_PORT) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
				    .sin6_port = htons(NETNS_LISTEN_PORT) };
	int r;

	if (family == AF_INET) {
		inet_pton(AF_INET, NETNS_LISTEN_V4, &in.sin_addr);
		r = bind(fd, (struct sockaddr *)&in, sizeof(in));
	} else {
		inet_pton(AF_INET6, NETNS_LISTEN_V6, &in6.sin6_addr);
		r = bind(fd, (struct sockaddr *)&in6, sizeof(in6));
	}
	return r < 0 ? -errno : 0;
}

static int open_tcp(int family, uint32_t mark)
{
	_cleanup_close_ int fd = open_transparent(family, SOCK_STREAM, 0, mark);
	int r;

	if (fd < 0)
		return fd;
	/*
	 * What is accepted occupies the port that was dialled; inherited, this lets a server of
	 * the command (which sets it, too) have the same port nevertheless.
	 */
	r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!r)
		r = bind_listener(fd, family);
	if (r < 0)
		return r;
	return listen(fd, BACKLOG) < 0 ? -errno : TAKE_FD(fd);
}

static int open_udp(int family, uint32_t mark)
{
	_cleanup_close_ int fd = open_transparent(family, SOCK_DGRAM, 0, mark);
	int r;

	if (fd < 0)
		return fd;
	if (family == AF_INET)
		r = set_int(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
	else
		r = set_int(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
	if (!r)
		r = bind_listener(fd, family);
	return r < 0 ? r : TAKE_FD(fd);
}

/* Only for sending: a raw socket would otherwise receive a copy of everything. */
static int open_raw(int family, int protocol, uint32_t mark)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { .len = 1, .filter = &drop };
	struct icmp6_filter none;
	_cleanup_close_ int fd = open_transparent(family, SOCK_RAW, protocol, mark);

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return -errno;
	ICMP6_FILTER_SETBLOCKALL(&none);
	if (protocol == IPPROTO_ICMPV6 &&
	    setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &none, sizeof(none)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int open_family(struct netns_sockets *s, int i, uint32_t mark, const char **ret_what)
{
	int family = i == NETNS_V4 ? AF_INET : AF_INET6;
	struct {
		int fd;
		int *where;
		const char *what;
	} made[] = {
		{ open_tcp(family, mark), &s->tcp[i], "a transparent TCP listener" },
		{ open_udp(family, mark), &s->udp[i], "a transparent UDP socket" },
		{ open_raw(family, IPPROTO_UDP, mark), &s->reply[i], "a raw UDP socket" },
		{ open_raw(family, i == NETNS_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, mark),
		  &s->icmp[i], "a raw ICMP socket" },
	};
	int r = 0;

	for (size_t k = 0; k < ARRAY_SIZE(made); k++) {
		*made[k].where = made[k].fd < 0 ? -1 : made[k].fd;
		if (made[k].fd < 0 && !r) {
			r = made[k].fd;
			*ret_what = made[k].what;
		}
	}
	return r;
}

/* What a held SYN needs: enough of each packet to answer it, and something to answer with. */
static int open_queue(struct netns_sockets *s, bool with_v6, const struct netns_wish *wish,
		      uint32_t mark, const char **ret_what)
{
	*ret_what = "a queue for held SYNs (nfnetlink_queue)";
	s->queue = nfqueue_open(NETNS_QUEUE, NETNS_QUEUE_HEAD, wish->queue_length, false);
	if (s->queue < 0)
		return s->queue;
	*ret_what = "a raw IP socket";
	s->raw[NETNS_V4] = ip_raw_open(4, mark);
	if (s->raw[NETNS_V4] >= 0 && with_v6)
		s->raw[NETNS_V6] = ip_raw_open(6, mark);
	if (s->raw[NETNS_V4] < 0)
		return s->raw[NETNS_V4];
	return with_v6 && s->raw[NETNS_V6] < 0 ? s->raw[NETNS_V6] : 0;
}

int netns_sockets_make(bool with_v6, const struct netns_wish *wish, uint32_t mark,
		       struct netns_sockets *ret, const char **ret_what)
{
	struct netns_sockets s;
	int r;

	memset(&s, 0xff, sizeof(s)); /* all of them -1 */
	r = open_family(&s, NETNS_V4, mark, ret_what);
	if (!r && with_v6)
		r = open_family(&s, NETNS_V6, mark, ret_what);
	if (!r && wish->honest)
		r = open_queue(&s, with_v6, wish, mark, ret_what);
	if (r < 0) {
		netns_sockets_close(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void netns_sockets_close(struct netns_sockets *s)
{
	int *fds = (int *)s;

	for (size_t i = 0; i < sizeof(*s) / sizeof(int); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}
