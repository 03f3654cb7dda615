/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "sys/sockaddr.h"
#include "sys/udp_raw.h"

#define SEND_QUEUE_BYTES (4 << 20)
#define TTL 64
/* An ICMP error fits into what every host accepts: RFC 1812 section 4.3.2.3 (576 bytes), RFC
 * 4443 section 3 (1280 bytes). */
#define ICMP_QUOTE_MAX (576 - 20 - 8 - 20 - 8)
#define ICMP6_QUOTE_MAX (1280 - 40 - 8 - 40 - 8)

/* Room for the source address and the TOS of one message. */
union control {
	struct cmsghdr align;
	char data[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int))];
};

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

void udp_raw_adopt(int fd)
{
	if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_QUEUE_BYTES) < 0)
		set_int(fd, SOL_SOCKET, SO_SNDBUF, SEND_QUEUE_BYTES);
}

/* A raw socket gets a copy of everything of its protocol; this one wants nothing. */
static int drop_all(int fd)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog prog = { .len = 1, .filter = &none };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

static int raw_socket(uint8_t family, int protocol, uint32_t mark)
{
	_cleanup_close_ int fd = socket(family == 4 ? AF_INET : AF_INET6,
					SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	int r;

	if (fd < 0)
		return -errno;
	r = drop_all(fd);
	if (!r)
		r = family == 4 ? set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1)
				: set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
	if (!r && mark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (r < 0)
		return r;
	udp_raw_adopt(fd);
	return TAKE_FD(fd);
}

int udp_raw_reply(uint8_t family, uint32_t mark)
{
	_cleanup_close_ int fd = raw_socket(family, IPPROTO_UDP, mark);
	int r = 0;

	if (fd < 0)
		return fd;
	/* a router that could not fragment a reply would say so to the server, not to us */
	if (family == 4)
		r = set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	return r < 0 ? r : TAKE_FD(fd);
}

int udp_raw_icmp(uint8_t family, uint32_t mark)
{
	return raw_socket(family, family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, mark);
}

/* The Internet checksum (RFC 1071): @sum is carried along and folded at the end.  All pieces
 * but the last have an even length. */
static uint64_t sum_add(uint64_t sum, const void *data, size_t len_bytes)
{
	const uint8_t *p = data;
	uint32_t word;
	uint16_t half = 0;

	for (; len_bytes >= 4; p += 4, len_bytes -= 4) {
		memcpy(&word, p, 4);
		sum += word;
	}
	if (len_bytes >= 2) {
		memcpy(&half, p, 2);
		sum += half;
		p += 2;
		len_bytes -= 2;
	}
	half = 0;
	if (len_bytes) {
		memcpy(&half, p, 1);
		sum += half;
	}
	return sum;
}

static uint16_t sum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* RFC 768 and RFC 8200 section 8.1. */
static struct udphdr udp_header(const struct addr *from, const struct addr *to, struct span payload)
{
	size_t len_bytes = sizeof(struct udphdr) + payload.len;
	uint16_t pseudo[2] = { htons(IPPROTO_UDP), htons((uint16_t)len_bytes) };
	struct udphdr h = {
		.source = htons(from->port),
		.dest = htons(to->port),
		.len = htons((uint16_t)len_bytes),
	};
	uint64_t sum = sum_add(0, pseudo, sizeof(pseudo));

	sum = sum_add(sum, from->ip, sizeof(from->ip));
	sum = sum_add(sum, to->ip, sizeof(to->ip));
	sum = sum_add(sum, &h, sizeof(h));
	sum = sum_add(sum, payload.data, payload.len);
	h.check = sum_fold(sum);
	if (!h.check)
		h.check = 0xffff; /* zero would say "no checksum" */
	return h;
}

static void *control_add(struct msghdr *m, union control *control, int level, int type, size_t len)
{
	struct cmsghdr *c = (void *)(control->data + m->msg_controllen);

	memset(c, 0, CMSG_SPACE(len));
	c->cmsg_len = CMSG_LEN(len);
	c->cmsg_level = level;
	c->cmsg_type = type;
	m->msg_control = control;
	m->msg_controllen += CMSG_SPACE(len);
	return CMSG_DATA(c);
}

static void control_source(struct msghdr *m, union control *control, const struct addr *from)
{
	if (from->family == 4) {
		struct in_pktinfo *p = control_add(m, control, IPPROTO_IP, IP_PKTINFO, sizeof(*p));

		memcpy(&p->ipi_spec_dst, from->ip, 4);
	} else {
		struct in6_pktinfo *p =
			control_add(m, control, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(*p));

		memcpy(&p->ipi6_addr, from->ip, 16);
		p->ipi6_ifindex = from->scope_id;
	}
}

static void control_tos(struct msghdr *m, union control *control, const struct udp_packet *p)
{
	int tos = p->tos;
	bool v4 = p->to.family == 4;

	if (tos)
		memcpy(control_add(m, control, v4 ? IPPROTO_IP : IPPROTO_IPV6,
				   v4 ? IP_TOS : IPV6_TCLASS, sizeof(tos)),
		       &tos, sizeof(tos));
}

/* Raw sockets have no ports: an IPv6 one refuses any but 0. */
static socklen_t sockaddr_of_ip(union sockaddr_any *s, const struct addr *a)
{
	struct addr ip = *a;

	ip.port = 0;
	return sockaddr_from_addr(s, &ip);
}

int udp_reply_batch(int fd, const struct udp_packet *const *packets, unsigned int n)
{
	struct mmsghdr m[UDP_BATCH];
	struct udphdr header[UDP_BATCH];
	struct iovec iov[UDP_BATCH][2];
	union sockaddr_any to[UDP_BATCH];
	union control control[UDP_BATCH];
	int r;

	for (unsigned int i = 0; i < n; i++) {
		const struct udp_packet *p = packets[i];

		header[i] = udp_header(&p->from, &p->to, p->payload);
		iov[i][0] = (struct iovec){ .iov_base = &header[i], .iov_len = sizeof(header[i]) };
		iov[i][1] = (struct iovec){ .iov_base = (void *)p->payload.data,
					    .iov_len = p->payload.len };
		m[i].msg_hdr = (struct msghdr){
			.msg_name = &to[i],
			.msg_namelen = sockaddr_of_ip(&to[i], &p->to),
			.msg_iov = iov[i],
			.msg_iovlen = 2,
		};
		control_source(&m[i].msg_hdr, &control[i], &p->from);
		control_tos(&m[i].msg_hdr, &control[i], p);
	}
	r = sendmmsg(fd, m, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return r < 0 ? -errno : r;
}

/* Multicast or broadcast, as far as an address tells. */
static bool is_group(const struct addr *a)
{
	if (a->family == 6)
		return a->ip[0] == 0xff;
	return (a->ip[0] >> 4) == 0xe || !memcmp(a->ip, "\xff\xff\xff\xff", 4);
}

static const struct {
	uint8_t type4, code4, type6, code6;
} icmp_of_fault[] = {
	[UDP_FAULT_PORT] = { ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, ICMP6_DST_UNREACH,
			     ICMP6_DST_UNREACH_NOPORT },
	[UDP_FAULT_HOST] = { ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, ICMP6_DST_UNREACH,
			     ICMP6_DST_UNREACH_ADDR },
	[UDP_FAULT_NETWORK] = { ICMP_DEST_UNREACH, ICMP_NET_UNREACH, ICMP6_DST_UNREACH,
				ICMP6_DST_UNREACH_NOROUTE },
	[UDP_FAULT_PROHIBITED] = { ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, ICMP6_DST_UNREACH,
				   ICMP6_DST_UNREACH_ADMIN },
	[UDP_FAULT_HOPS] = { ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, ICMP6_TIME_EXCEEDED,
			     ICMP6_TIME_EXCEED_TRANSIT },
	[UDP_FAULT_TOO_BIG] = { ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, ICMP6_PACKET_TOO_BIG, 0 },
};

/* What stands before the quoted payload: the error itself, then the headers of the datagram. */
struct head4 {
	struct icmphdr icmp;
	struct iphdr ip;
	struct udphdr udp;
};

struct head6 {
	struct icmp6_hdr icmp;
	struct ip6_hdr ip;
	struct udphdr udp;
};

static size_t build_head4(struct head4 *h, const struct udp_icmp *e, struct span quote)
{
	size_t udp_bytes = sizeof(h->udp) + e->payload.len;

	*h = (struct head4){
		.icmp = { .type = icmp_of_fault[e->fault].type4,
			  .code = icmp_of_fault[e->fault].code4 },
		.ip = { .version = 4,
			.ihl = 5,
			.tot_len = htons((uint16_t)(sizeof(h->ip) + udp_bytes)),
			.frag_off = htons(IP_DF),
			.ttl = TTL,
			.protocol = IPPROTO_UDP },
		.udp = udp_header(&e->client, &e->target, e->payload),
	};
	if (e->fault == UDP_FAULT_TOO_BIG)
		h->icmp.un.frag.mtu = htons((uint16_t)e->mtu_bytes);
	memcpy(&h->ip.saddr, e->client.ip, 4);
	memcpy(&h->ip.daddr, e->target.ip, 4);
	h->ip.check = sum_fold(sum_add(0, &h->ip, sizeof(h->ip)));
	h->icmp.checksum = sum_fold(sum_add(sum_add(0, h, sizeof(*h)), quote.data, quote.len));
	return sizeof(*h);
}

static size_t build_head6(struct head6 *h, const struct udp_icmp *e)
{
	size_t udp_bytes = sizeof(h->udp) + e->payload.len;

	*h = (struct head6){
		.icmp = { .icmp6_type = icmp_of_fault[e->fault].type6,
			  .icmp6_code = icmp_of_fault[e->fault].code6 },
		.udp = udp_header(&e->client, &e->target, e->payload),
	};
	if (e->fault == UDP_FAULT_TOO_BIG)
		h->icmp.icmp6_mtu = htonl(e->mtu_bytes);
	h->ip.ip6_flow = htonl(6U << 28);
	h->ip.ip6_plen = htons((uint16_t)udp_bytes);
	h->ip.ip6_nxt = IPPROTO_UDP;
	h->ip.ip6_hlim = TTL;
	memcpy(&h->ip.ip6_src, e->client.ip, 16);
	memcpy(&h->ip.ip6_dst, e->target.ip, 16);
	return sizeof(*h); /* the kernel fills the checksum in: raw(7) of ICMPv6, RFC 3542 3.1 */
}

int udp_icmp_send(int fd, const struct udp_icmp *e)
{
	bool v4 = e->target.family == 4;
	struct span quote = span_head(e->payload, v4 ? ICMP_QUOTE_MAX : ICMP6_QUOTE_MAX);
	union {
		struct head4 v4;
		struct head6 v6;
	} head;
	struct iovec iov[2] = {
		{ .iov_base = &head },
		{ .iov_base = (void *)quote.data, .iov_len = quote.len },
	};
	union sockaddr_any to;
	union control control;
	struct msghdr m = {
		.msg_name = &to,
		.msg_namelen = sockaddr_of_ip(&to, &e->client),
		.msg_iov = iov,
		.msg_iovlen = 2,
	};

	if (e->fault == UDP_FAULT_OTHER || is_group(&e->target) || is_group(&e->client))
		return 0;
	iov[0].iov_len = v4 ? build_head4(&head.v4, e, quote) : build_head6(&head.v6, e);
	control_source(&m, &control, e->router.family ? &e->router : &e->target);
	return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 1;
}
