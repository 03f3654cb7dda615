/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h> /* for the next */

#include <linux/errqueue.h>

#include "base/cleanup.h"
#include "sys/sockaddr.h"
#include "sys/socket_maker.h"
#include "sys/udp.h"

#ifndef IPV6_ORIGDSTADDR
#define IPV6_ORIGDSTADDR 74 /* linux/in6.h */
#define IPV6_RECVORIGDSTADDR IPV6_ORIGDSTADDR
#endif
#define BUFFER_BYTES 65536
#define LOOPBACK 1 /* index of lo in every network namespace (LOOPBACK_IFINDEX) */
#define QUOTED_BYTES 2048
/* Datagrams that may leave as one train: those that fit the usual link, the kernel's numbers. */
#define JOIN_BYTES 1472
#define TRAIN_BYTES 65000
#define TRAIN_SEGMENTS 64
/* For bursts of new clients; the kernel counts about 800 bytes for a small datagram. */
#define LISTEN_QUEUE_BYTES (4 << 20)
#define RELAY_QUEUE_BYTES (512 << 10) /* of one client */

/* Errors have a place of their own: they are read while received packets are still in use. */
struct udp_batch {
	uint8_t data[UDP_BATCH][BUFFER_BYTES];
	uint8_t quoted[QUOTED_BYTES];
};

/* Room for what comes with one datagram: an address, an interface, the TOS and the size of a
 * train's cars, or an error with its sender. */
union control {
	struct cmsghdr align;
	char data[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)) +
		  CMSG_SPACE(sizeof(struct sockaddr_in6)) + 2 * CMSG_SPACE(sizeof(int)) +
		  CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct udp_batch *udp_batch_new(void)
{
	return malloc(sizeof(struct udp_batch)); /* not zeroed: only pages in use cost memory */
}

void udp_batch_free(struct udp_batch *b)
{
	free(b);
}

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int udp_plain(uint8_t family)
{
	int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			0);

	if (fd < 0)
		return -errno;
	if (family == 6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	return fd;
}

static int set_transparent(int fd, uint8_t family)
{
	return family == 4 ? set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1)
			   : set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
}

static int set_receive_tos(int fd, uint8_t family)
{
	return family == 4 ? set_int(fd, IPPROTO_IP, IP_RECVTOS, 1)
			   : set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
}

/* May the kernel fragment what is sent?  If not, it says what would fit. */
static int set_fragment(int fd, uint8_t family, bool may)
{
	return family == 4 ? set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER,
				     may ? IP_PMTUDISC_WANT : IP_PMTUDISC_DO)
			   : set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
				     may ? IPV6_PMTUDISC_WANT : IPV6_PMTUDISC_DO);
}

/* Beyond what the host allows everybody, where we may. */
static void set_queue(int fd, int bytes)
{
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes) < 0)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

static int bind_to(int fd, const struct addr *a)
{
	union sockaddr_any s;
	socklen_t len = sockaddr_from_addr(&s, a);

	return bind(fd, &s.sa, len) < 0 ? -errno : 0;
}

int udp_adopt_listener(int fd, uint8_t family)
{
	int r;

	set_queue(fd, LISTEN_QUEUE_BYTES);
	r = family == 4 ? set_int(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
			: set_int(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
	if (!r)
		r = family == 4 ? set_int(fd, IPPROTO_IP, IP_PKTINFO, 1)
				: set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	set_int(fd, IPPROTO_UDP, UDP_GRO, 1); /* where the kernel can */
	return r < 0 ? r : set_receive_tos(fd, family);
}

void udp_apart(int fd)
{
	set_int(fd, IPPROTO_UDP, UDP_GRO, 0);
}

int udp_listen(const struct addr *a, bool transparent, uint32_t mark)
{
	_cleanup_close_ int fd = udp_plain(a->family);
	int r = 0;

	if (fd < 0)
		return fd;
	if (transparent)
		r = set_transparent(fd, a->family);
	if (!r && mark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (!r)
		r = udp_adopt_listener(fd, a->family);
	if (!r)
		r = bind_to(fd, a);
	return r < 0 ? r : TAKE_FD(fd);
}

int udp_relay(const struct addr *a, uint32_t mark)
{
	_cleanup_close_ int fd = udp_plain(a->family);
	int r = 0;

	if (fd < 0)
		return fd;
	set_queue(fd, RELAY_QUEUE_BYTES);
	if (mark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (!r || r == -EPERM)
		r = bind_to(fd, a);
	return r < 0 ? r : TAKE_FD(fd);
}

int udp_upstream(uint8_t family, const struct addr *source, bool keep_port, uint32_t mark)
{
	_cleanup_close_ int fd = udp_plain(family);
	struct addr a;
	int r;

	if (fd < 0)
		return fd;
	r = family == 4 ? set_int(fd, IPPROTO_IP, IP_RECVERR, 1)
			: set_int(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
	if (!r)
		r = set_receive_tos(fd, family);
	if (!r)
		r = set_fragment(fd, family, false);
	set_queue(fd, RELAY_QUEUE_BYTES);
	set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
	if (!r && mark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (r < 0 && r != -EPERM)
		return r;
	if (!source) { /* now, so that its port is known before the first datagram can come back */
		a = (struct addr){ .family = family };
		r = bind_to(fd, &a);
		return r < 0 ? r : TAKE_FD(fd);
	}
	a = *source;
	if (!keep_port)
		a.port = 0;
	r = set_transparent(fd, family);
	if (!r && keep_port) /* beside a wildcard socket that allows it, too */
		r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!r)
		r = bind_to(fd, &a);
	return r < 0 ? r : TAKE_FD(fd);
}

int udp_between(const struct addr *from, const struct addr *to, uint32_t mark)
{
	_cleanup_close_ int fd = udp_plain(from->family);
	union sockaddr_any s;
	int r;

	if (fd < 0)
		return fd;
	r = set_transparent(fd, from->family);
	if (!r)
		r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!r && from->family == 4) /* as udp_raw_reply() */
		r = set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	if (!r && mark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (!r)
		r = udp_adopt_listener(fd, from->family);
	if (!r)
		r = bind_to(fd, from);
	if (!r && connect(fd, &s.sa, sockaddr_from_addr(&s, to)) < 0)
		r = -errno;
	return r < 0 ? r : TAKE_FD(fd);
}

int udp_connected(const struct addr *to, uint32_t mark, struct socket_maker *maker)
{
	_cleanup_close_ int fd =
		maker ? socket_maker_take_udp(maker, to->family) : udp_plain(to->family);
	union sockaddr_any s;

	if (fd < 0)
		return fd;
	if (mark)
		set_int(fd, SOL_SOCKET, SO_MARK, (int)mark); /* or not, as in udp_upstream() */
	return connect(fd, &s.sa, sockaddr_from_addr(&s, to)) < 0 ? -errno : TAKE_FD(fd);
}

static void read_control(struct msghdr *m, struct udp_packet *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		union sockaddr_any s = { 0 };
		int tclass, segment;
		struct in_pktinfo info;
		struct in6_pktinfo info6;

		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR) {
			memcpy(&s.in, CMSG_DATA(c), sizeof(s.in));
			sockaddr_to_addr(&s, &ret->to);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR) {
			memcpy(&s.in6, CMSG_DATA(c), sizeof(s.in6));
			sockaddr_to_addr(&s, &ret->to);
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			ret->tos = *CMSG_DATA(c);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
			memcpy(&tclass, CMSG_DATA(c), sizeof(tclass));
			ret->tos = (uint8_t)tclass;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			ret->by_loopback = info.ipi_ifindex == LOOPBACK;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&info6, CMSG_DATA(c), sizeof(info6));
			ret->by_loopback = info6.ipi6_ifindex == LOOPBACK;
		} else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
			if (segment > 0 && (size_t)segment < ret->payload.len)
				ret->segment_bytes = (uint16_t)segment;
		}
	}
}

int udp_recv_batch(int fd, struct udp_batch *b, struct udp_packet ret[static UDP_BATCH])
{
	struct mmsghdr m[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	union sockaddr_any from[UDP_BATCH];
	union control control[UDP_BATCH];
	int n;

	for (int i = 0; i < UDP_BATCH; i++) {
		iov[i] = (struct iovec){ .iov_base = b->data[i], .iov_len = BUFFER_BYTES };
		m[i].msg_hdr = (struct msghdr){
			.msg_name = &from[i],
			.msg_namelen = sizeof(from[i]),
			.msg_iov = &iov[i],
			.msg_iovlen = 1,
			.msg_control = &control[i],
			.msg_controllen = sizeof(control[i]),
		};
	}
	n = recvmmsg(fd, m, UDP_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		ret[i] = (struct udp_packet){ .payload = span_of(b->data[i], m[i].msg_len) };
		sockaddr_to_addr(&from[i], &ret[i].from);
		read_control(&m[i].msg_hdr, &ret[i]);
	}
	return n;
}

static void put_control(struct msghdr *m, union control *control, int level, int type,
			const void *value, size_t len_bytes)
{
	struct cmsghdr *c;

	if (!m->msg_control)
		memset(control, 0, sizeof(*control));
	m->msg_control = control;
	c = (struct cmsghdr *)(control->data + m->msg_controllen);
	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(len_bytes),
			       .cmsg_level = level,
			       .cmsg_type = type };
	memcpy(CMSG_DATA(c), value, len_bytes);
	m->msg_controllen += CMSG_SPACE(len_bytes);
}

static void write_control(struct msghdr *m, union control *control, const struct udp_packet *p)
{
	int tos = p->tos;
	bool v4 = p->from.family ? p->from.family == 4 : p->to.family == 4;

	if (tos)
		put_control(m, control, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS,
			    &tos, sizeof(tos));
	if (p->segment_bytes)
		put_control(m, control, IPPROTO_UDP, UDP_SEGMENT, &p->segment_bytes,
			    sizeof(p->segment_bytes));
}

struct udp_packet udp_packet_segment(const struct udp_packet *p, size_t i)
{
	struct udp_packet one = *p;
	size_t at = i * p->segment_bytes;

	if (!p->segment_bytes)
		return one;
	one.payload = span_skip(p->payload, at);
	if (one.payload.len > p->segment_bytes)
		one.payload.len = p->segment_bytes;
	one.segment_bytes = 0;
	return one;
}

int udp_answer(int fd, const struct udp_packet *p)
{
	struct iovec iov = { .iov_base = (void *)p->payload.data, .iov_len = p->payload.len };
	union sockaddr_any to;
	union control control;
	struct msghdr m = { .msg_name = &to,
			    .msg_namelen = sockaddr_from_addr(&to, &p->to),
			    .msg_iov = &iov,
			    .msg_iovlen = 1 };
	struct in_pktinfo v4 = { 0 };
	struct in6_pktinfo v6 = { 0 };

	if (p->from.family == 4) {
		memcpy(&v4.ipi_spec_dst, p->from.ip, sizeof(v4.ipi_spec_dst));
		put_control(&m, &control, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4));
	} else if (p->from.family == 6) {
		memcpy(&v6.ipi6_addr, p->from.ip, sizeof(v6.ipi6_addr));
		v6.ipi6_ifindex = p->from.scope_id;
		put_control(&m, &control, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
	}
	write_control(&m, &control, p);
	return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Consecutive packets that leave as one message: a train of datagrams of @size. */
struct group {
	unsigned int n;
	size_t size, bytes, segments;
	bool open; /* all of its datagrams are of that size: more may follow */
};

static size_t datagram_bytes(const struct udp_packet *p)
{
	return p->segment_bytes ? p->segment_bytes : p->head.len + p->payload.len;
}

static void group_add(struct group *g, const struct udp_packet *p)
{
	size_t bytes = p->head.len + p->payload.len;

	if (!g->n)
		g->size = datagram_bytes(p);
	g->n++;
	g->bytes += bytes;
	g->segments += udp_packet_count(p);
	g->open = g->size && g->size <= JOIN_BYTES && bytes % g->size == 0;
}

/* May @p follow @last in the same train? */
static bool group_takes(const struct group *g, const struct udp_packet *last,
			const struct udp_packet *p)
{
	size_t bytes = p->head.len + p->payload.len;

	return g->open && bytes && g->bytes + bytes <= TRAIN_BYTES &&
	       g->segments + udp_packet_count(p) <= TRAIN_SEGMENTS &&
	       (p->segment_bytes ? p->segment_bytes == g->size : bytes <= g->size) &&
	       p->tos == last->tos && addr_eq(&p->to, &last->to);
}

/* The messages to send, at most one for each packet; return: how many. */
static unsigned int make_groups(const struct udp_packet *const *packets, unsigned int n, bool join,
				struct group group[static UDP_BATCH])
{
	unsigned int n_groups = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (!join || !n_groups ||
		    !group_takes(&group[n_groups - 1], packets[i - 1], packets[i]))
			group[n_groups++] = (struct group){ 0 };
		group_add(&group[n_groups - 1], packets[i]);
	}
	return n_groups;
}

static int send_groups(int fd, const struct udp_packet *const *packets, const struct group *group,
		       unsigned int n)
{
	struct mmsghdr m[UDP_BATCH];
	struct iovec iov[2 * UDP_BATCH], *next = iov;
	union sockaddr_any to[UDP_BATCH];
	union control control[UDP_BATCH];
	int r, sent = 0;

	for (unsigned int i = 0; i < n; packets += group[i++].n) {
		struct udp_packet first = *packets[0];

		m[i].msg_hdr = (struct msghdr){ .msg_iov = next };
		for (unsigned int k = 0; k < group[i].n; k++) {
			const struct udp_packet *p = packets[k];

			if (p->head.len)
				*next++ = (struct iovec){ (void *)p->head.data, p->head.len };
			*next++ = (struct iovec){ (void *)p->payload.data, p->payload.len };
		}
		m[i].msg_hdr.msg_iovlen = (size_t)(next - m[i].msg_hdr.msg_iov);
		if (first.to.family) {
			m[i].msg_hdr.msg_name = &to[i];
			m[i].msg_hdr.msg_namelen = sockaddr_from_addr(&to[i], &first.to);
		}
		if (group[i].n > 1)
			first.segment_bytes = (uint16_t)group[i].size;
		write_control(&m[i].msg_hdr, &control[i], &first);
	}
	r = sendmmsg(fd, m, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (r < 0)
		return -errno;
	for (int i = 0; i < r; i++)
		sent += (int)group[i].n;
	return sent;
}

int udp_send_batch(int fd, const struct udp_packet *const *packets, unsigned int n)
{
	struct group group[UDP_BATCH];
	unsigned int n_groups = make_groups(packets, n, true, group);
	int r = send_groups(fd, packets, group, n_groups);

	/* What is too large for this way, or the way takes no trains: as they came. */
	if ((r == -EINVAL || r == -EMSGSIZE || r == -EIO) && group[0].n > 1) {
		n_groups = make_groups(packets, group[0].n, false, group);
		r = send_groups(fd, packets, group, n_groups);
	}
	return r;
}

int udp_send_fragmented(int fd, const struct udp_packet *packet)
{
	int r;

	set_fragment(fd, packet->to.family, true);
	r = udp_send_batch(fd, &packet, 1);
	set_fragment(fd, packet->to.family, false);
	return r < 0 ? r : 0;
}

enum udp_fault udp_fault_of_errno(int error)
{
	switch (error) {
	case EMSGSIZE:
		return UDP_FAULT_TOO_BIG;
	case ECONNREFUSED:
		return UDP_FAULT_PORT;
	case EHOSTUNREACH:
	case EHOSTDOWN:
		return UDP_FAULT_HOST;
	case ENETUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL: /* no source address for this route */
		return UDP_FAULT_NETWORK;
	case EACCES:
	case EPERM:
		return UDP_FAULT_PROHIBITED;
	}
	return UDP_FAULT_OTHER;
}

/* Source: RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1. */
static enum udp_fault fault_of_icmp(uint8_t type, uint8_t code)
{
	if (type == ICMP_TIME_EXCEEDED && code == ICMP_EXC_TTL)
		return UDP_FAULT_HOPS;
	if (type != ICMP_DEST_UNREACH)
		return UDP_FAULT_OTHER;
	switch (code) {
	case ICMP_PORT_UNREACH:
	case ICMP_PROT_UNREACH:
		return UDP_FAULT_PORT;
	case ICMP_FRAG_NEEDED:
		return UDP_FAULT_TOO_BIG;
	case ICMP_NET_UNREACH:
	case ICMP_NET_UNKNOWN:
	case ICMP_NET_UNR_TOS:
		return UDP_FAULT_NETWORK;
	case ICMP_NET_ANO:
	case ICMP_HOST_ANO:
	case ICMP_PKT_FILTERED:
		return UDP_FAULT_PROHIBITED;
	}
	return UDP_FAULT_HOST;
}

/* Source: RFC 4443 section 3. */
static enum udp_fault fault_of_icmp6(uint8_t type, uint8_t code)
{
	if (type == ICMP6_PACKET_TOO_BIG)
		return UDP_FAULT_TOO_BIG;
	if (type == ICMP6_TIME_EXCEEDED && code == ICMP6_TIME_EXCEED_TRANSIT)
		return UDP_FAULT_HOPS;
	if (type != ICMP6_DST_UNREACH)
		return UDP_FAULT_OTHER;
	switch (code) {
	case ICMP6_DST_UNREACH_NOPORT:
		return UDP_FAULT_PORT;
	case ICMP6_DST_UNREACH_NOROUTE:
		return UDP_FAULT_NETWORK;
	case ICMP6_DST_UNREACH_BEYONDSCOPE:
	case ICMP6_DST_UNREACH_ADDR:
		return UDP_FAULT_HOST;
	}
	return UDP_FAULT_PROHIBITED;
}

static void read_error(struct msghdr *m, struct udp_error *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		const struct sock_extended_err *e = (const void *)CMSG_DATA(c);
		bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
		union sockaddr_any router;

		if (!v4 && (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_RECVERR))
			continue;
		/* Local errors are answers to a send, which has seen them, but for the MTU. */
		if (e->ee_origin == SO_EE_ORIGIN_LOCAL && e->ee_errno == EMSGSIZE)
			ret->fault = UDP_FAULT_TOO_BIG;
		else if (e->ee_origin == SO_EE_ORIGIN_ICMP)
			ret->fault = fault_of_icmp(e->ee_type, e->ee_code);
		else if (e->ee_origin == SO_EE_ORIGIN_ICMP6)
			ret->fault = fault_of_icmp6(e->ee_type, e->ee_code);
		if (ret->fault == UDP_FAULT_TOO_BIG)
			ret->mtu_bytes = e->ee_info;
		if (e->ee_origin == SO_EE_ORIGIN_LOCAL)
			continue;
		memcpy(&router, SO_EE_OFFENDER(e), v4 ? sizeof(router.in) : sizeof(router.in6));
		sockaddr_to_addr(&router, &ret->router);
	}
}

int udp_recv_error(int fd, struct udp_batch *b, struct udp_error *ret)
{
	union sockaddr_any target = { 0 };
	union control control;
	struct iovec iov = { .iov_base = b->quoted, .iov_len = sizeof(b->quoted) };
	struct msghdr m = {
		.msg_name = &target,
		.msg_namelen = sizeof(target),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int pending;
	socklen_t len = sizeof(pending);
	ssize_t n = recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);

	if (n < 0) {
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &len);
		return -EAGAIN;
	}
	*ret = (struct udp_error){ .payload = span_of(b->quoted, (size_t)n) };
	sockaddr_to_addr(&target, &ret->target);
	read_error(&m, ret);
	return 0;
}
