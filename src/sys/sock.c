/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sys/sock.h"
#include "sys/sockaddr.h"
#include "sys/socket_maker.h"

/* linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h; they clash with netinet/in.h */
#define SO_ORIGINAL_DST 80
#define IP6T_SO_ORIGINAL_DST 80
/* As BACKLOG_MAX of core/backlog.h, which may cut it later. */
#define BACKLOG 4096
/* each network namespace begins with it: LOOPBACK_IFINDEX of include/net/flow.h */
#define LOOPBACK_INDEX 1

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_transparent(int fd, uint8_t family)
{
	return family == 4 ? set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1)
			   : set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
}

int sock_tcp(uint8_t family)
{
	int fd = socket(family == 4 ? AF_INET : AF_INET6,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

int sock_listen_tcp(const struct addr *a, bool transparent, uint32_t mark)
{
	_cleanup_close_ int fd = sock_tcp(a->family);
	union sockaddr_any s;
	int r;

	if (fd < 0)
		return fd;
	r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!r && a->family == 6)
		r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!r && transparent)
		r = set_transparent(fd, a->family);
	if (!r && mark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (!r)
		r = sock_adopt_listener(fd);
	if (r < 0)
		return r;
	if (bind(fd, &s.sa, sockaddr_from_addr(&s, a)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int set_reset_on_close(int fd, bool on)
{
	struct linger l = { .l_onoff = on, .l_linger = 0 };

	return setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) < 0 ? -errno : 0;
}

int sock_adopt_listener(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(fd, IPPROTO_IP, IP_PKTINFO, 1); /* for sock_came_by_loopback() */
	return set_reset_on_close(fd, true);
}

int sock_set_backlog(int listen_fd, unsigned int count)
{
	return listen(listen_fd, (int)count) < 0 ? -errno : 0;
}

static int tcp_info_of(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	*ret = (struct tcp_info){ 0 };
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len) < 0 ? -errno : 0;
}

int64_t sock_silent_ms(int fd)
{
	struct tcp_info info;
	int r = tcp_info_of(fd, &info);

	return r < 0 ? r : (int64_t)info.tcpi_last_data_recv;
}

int64_t sock_sent_ms(int fd)
{
	struct tcp_info info;
	int r = tcp_info_of(fd, &info);

	return r < 0 ? r : (int64_t)info.tcpi_last_data_sent;
}

int sock_accept(int listen_fd, struct addr *ret_client)
{
	union sockaddr_any s;
	socklen_t len = sizeof(s);
	int fd = accept4(listen_fd, &s.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	sockaddr_to_addr(&s, ret_client);
	return fd;
}

int sock_local(int fd, struct addr *ret)
{
	union sockaddr_any s;
	socklen_t len = sizeof(s);

	if (getsockname(fd, &s.sa, &len) < 0)
		return -errno;
	sockaddr_to_addr(&s, ret);
	return 0;
}

/* IPv4: a control message with the interface.  0: not known. */
static unsigned int index_of_packet_options(int fd)
{
	union {
		struct cmsghdr align;
		char bytes[256];
	} control;
	socklen_t len = sizeof(control);
	struct msghdr h = { .msg_control = &control };
	struct in_pktinfo info;

	if (getsockopt(fd, IPPROTO_IP, IP_PKTOPTIONS, &control, &len) < 0)
		return 0;
	h.msg_controllen = len;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		return (unsigned int)info.ipi_ifindex;
	}
	return 0;
}

bool sock_came_by_loopback(int fd, uint8_t family)
{
	int index = 0;
	socklen_t len = sizeof(index);

	if (family == 4)
		index = (int)index_of_packet_options(fd);
	else if (getsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, &len) < 0)
		index = 0;
	return !index || index == LOOPBACK_INDEX;
}

int sock_original_target(int fd, uint8_t family, struct addr *ret)
{
	union sockaddr_any s;
	socklen_t len = sizeof(s);
	int r = family == 4 ? getsockopt(fd, IPPROTO_IP, SO_ORIGINAL_DST, &s, &len)
			    : getsockopt(fd, IPPROTO_IPV6, IP6T_SO_ORIGINAL_DST, &s, &len);

	if (r < 0)
		return -errno;
	sockaddr_to_addr(&s, ret);
	return 0;
}

static int bind_source(int fd, const struct addr *source, bool keep_port)
{
	union sockaddr_any s;
	struct addr a = *source;
	int r;

	r = set_transparent(fd, a.family);
	if (!r && keep_port) /* share the port, and take over a TIME_WAIT */
		r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!r && !keep_port) { /* the port is chosen by connect(2), per 4-tuple */
		a.port = 0;
		r = set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	}
	if (r < 0)
		return r;
	if (bind(fd, &s.sa, sockaddr_from_addr(&s, &a)) == 0)
		return 0;
	return errno == EACCES ? -EPERM : -errno; /* a low port; routes say EACCES, too */
}

int sock_connect(const struct addr *target, const struct addr *source, unsigned int how,
		 uint32_t mark, struct socket_maker *maker)
{
	_cleanup_close_ int fd =
		maker ? socket_maker_take(maker, target->family) : sock_tcp(target->family);
	union sockaddr_any s;
	int r;

	if (fd < 0)
		return fd;
	if (how & SOCK_SPEAK_FIRST)
		set_int(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
	else
		sock_no_delay(fd);
	r = set_reset_on_close(fd, true);
	/* on a short wire ICMPv6 arrives while connect(2) holds the socket; the kernel then drops
	 * it (tcp_v6_err()) unless it may queue it */
	if (target->family == 6)
		set_int(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
	if (!r && mark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (!r && source)
		r = bind_source(fd, source, how & SOCK_KEEP_PORT);
	if (r < 0)
		return r;
	if (connect(fd, &s.sa, sockaddr_from_addr(&s, target)) < 0 && errno != EINPROGRESS)
		return -errno;
	return TAKE_FD(fd);
}

void sock_connected(int fd, uint8_t family)
{
	if (family == 6)
		set_int(fd, IPPROTO_IPV6, IPV6_RECVERR, 0);
}

ssize_t sock_recv(int fd, void *dst, size_t cap_bytes)
{
	ssize_t n = recv(fd, dst, cap_bytes, 0);

	return n < 0 ? -errno : n;
}

ssize_t sock_send(int fd, const void *src, size_t len_bytes)
{
	ssize_t n = send(fd, src, len_bytes, MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

void sock_no_delay(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void sock_ack_at_once(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
}

void sock_inline_urgent(int fd)
{
	set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
}

int sock_finish(int fd)
{
	return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

int sock_take_error(int fd)
{
	int e = 0;
	socklen_t len = sizeof(e);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
		return -errno;
	return -e;
}

int sock_unsent_bytes(int fd)
{
	int n = 0;

	return ioctl(fd, SIOCOUTQ, &n) < 0 ? -errno : n;
}

void sock_close_orderly(int fd)
{
	set_reset_on_close(fd, false);
	close(fd);
}

void sock_close_reset(int fd)
{
	close(fd);
}

bool sock_ip_is_local(const struct addr *a)
{
	_cleanup_close_ int fd = sock_tcp(a->family);
	struct addr any_port = *a;
	union sockaddr_any s;

	any_port.port = 0;
	return fd >= 0 && !bind(fd, &s.sa, sockaddr_from_addr(&s, &any_port));
}

void sock_store_addr(struct sockaddr_storage *ret, const struct addr *a)
{
	union sockaddr_any s;
	socklen_t len = sockaddr_from_addr(&s, a);

	memset(ret, 0, sizeof(*ret));
	memcpy(ret, &s, len);
}

bool sock_may_mark(uint32_t mark)
{
	_cleanup_close_ int fd = sock_tcp(4);

	return fd >= 0 && !sock_mark(fd, mark);
}

int sock_mark(int fd, uint32_t mark)
{
	return set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
}

size_t sock_raise_descriptor_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return 1024;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	getrlimit(RLIMIT_NOFILE, &r);
	return r.rlim_cur;
}
