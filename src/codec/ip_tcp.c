/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/ip_tcp.h"

#define PROTO_HOP_BY_HOP 0
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_ROUTING 43
#define PROTO_ICMP6 58
#define PROTO_DESTINATION 60

#define IP4_HEAD 20
#define IP6_HEAD 40
#define TCP_HEAD 20
#define ICMP_HEAD 8
#define TTL 64

static uint16_t u16_at(struct span in, size_t at)
{
	return (uint16_t)(in.data[at] << 8 | in.data[at + 1]);
}

static uint32_t u32_at(struct span in, size_t at)
{
	return (uint32_t)u16_at(in, at) << 16 | u16_at(in, at + 2);
}

static void put16(uint8_t *dst, uint16_t v)
{
	dst[0] = (uint8_t)(v >> 8);
	dst[1] = (uint8_t)v;
}

static void put32(uint8_t *dst, uint32_t v)
{
	put16(dst, (uint16_t)(v >> 16));
	put16(dst + 2, (uint16_t)v);
}

static struct addr addr_at(struct span in, size_t at, uint8_t family)
{
	struct addr a = { .family = family };

	memcpy(a.ip, in.data + at, addr_ip_len(&a));
	return a;
}

/* @packet_len: what IP says that there is. */
static enum codec_result parse_tcp(struct span in, size_t at, size_t packet_len, struct ip_tcp *ret)
{
	size_t len;

	if (in.len < at + TCP_HEAD)
		return CODEC_MORE;
	len = (size_t)(in.data[at + 12] >> 4) * 4;
	if (len < TCP_HEAD || at + len > IP_TCP_HEAD_MAX || at + len > packet_len)
		return CODEC_BAD;
	if (in.len < at + len)
		return CODEC_MORE;
	ret->from.port = u16_at(in, at);
	ret->to.port = u16_at(in, at + 2);
	ret->seq = u32_at(in, at + 4);
	ret->flags = in.data[at + 13];
	ret->head_len = at + len;
	return CODEC_DONE;
}

static enum codec_result parse_v4(struct span in, struct ip_tcp *ret)
{
	size_t len;

	if (in.len < IP4_HEAD)
		return CODEC_MORE;
	len = (size_t)(in.data[0] & 15) * 4;
	if (len < IP4_HEAD)
		return CODEC_BAD;
	if (in.data[9] != PROTO_TCP || u16_at(in, 6) & 0x3fff) /* a fragment, MF or an offset */
		return CODEC_OTHER;
	ret->from = addr_at(in, 12, 4);
	ret->to = addr_at(in, 16, 4);
	return parse_tcp(in, len, u16_at(in, 2), ret);
}

static enum codec_result parse_v6(struct span in, struct ip_tcp *ret)
{
	size_t at = IP6_HEAD;
	uint8_t next;

	if (in.len < IP6_HEAD)
		return CODEC_MORE;
	ret->from = addr_at(in, 8, 6);
	ret->to = addr_at(in, 24, 6);
	next = in.data[6];
	while (next == PROTO_HOP_BY_HOP || next == PROTO_ROUTING || next == PROTO_DESTINATION) {
		if (in.len < at + 2)
			return CODEC_MORE;
		next = in.data[at];
		at += ((size_t)in.data[at + 1] + 1) * 8;
		if (at + TCP_HEAD > IP_TCP_HEAD_MAX)
			return CODEC_BAD;
	}
	if (next != PROTO_TCP)
		return CODEC_OTHER;
	return parse_tcp(in, at, (size_t)IP6_HEAD + u16_at(in, 4), ret);
}

enum codec_result ip_tcp_parse(struct span in, struct ip_tcp *ret)
{
	*ret = (struct ip_tcp){ 0 };
	if (!in.len)
		return CODEC_MORE;
	switch (in.data[0] >> 4) {
	case 4:
		return parse_v4(in, ret);
	case 6:
		return parse_v6(in, ret);
	default:
		return CODEC_OTHER;
	}
}

/* RFC 1071: @len is even. */
static uint32_t sum_add(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	return len & 1 ? sum + (uint32_t)(p[len - 1] << 8) : sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The IP header of an answer to @to_whom, for @len bytes behind it.  Return: its length. */
static size_t put_ip(uint8_t *dst, const struct ip_tcp *to_whom, uint8_t protocol, size_t len)
{
	if (to_whom->from.family == 4) {
		memset(dst, 0, IP4_HEAD);
		dst[0] = 4 << 4 | IP4_HEAD / 4;
		put16(dst + 2, (uint16_t)(IP4_HEAD + len));
		dst[6] = 0x40; /* do not fragment */
		dst[8] = TTL;
		dst[9] = protocol;
		memcpy(dst + 12, to_whom->to.ip, 4);
		memcpy(dst + 16, to_whom->from.ip, 4);
		put16(dst + 10, sum_fold(sum_add(0, dst, IP4_HEAD)));
		return IP4_HEAD;
	}
	memset(dst, 0, 8);
	dst[0] = 6 << 4;
	put16(dst + 4, (uint16_t)len);
	dst[6] = protocol;
	dst[7] = TTL;
	memcpy(dst + 8, to_whom->to.ip, 16);
	memcpy(dst + 24, to_whom->from.ip, 16);
	return IP6_HEAD;
}

/* What TCP and ICMPv6 sum up besides themselves. */
static uint32_t sum_pseudo(const struct ip_tcp *to_whom, uint8_t protocol, size_t len)
{
	uint32_t sum = protocol + (uint32_t)len;

	sum = sum_add(sum, to_whom->from.ip, sizeof(to_whom->from.ip));
	return sum_add(sum, to_whom->to.ip, sizeof(to_whom->to.ip));
}

size_t ip_tcp_refuse(const struct ip_tcp *syn, uint8_t dst[static IP_TCP_REFUSAL_CAP])
{
	size_t ip_len = put_ip(dst, syn, PROTO_TCP, TCP_HEAD);
	uint8_t *tcp = dst + ip_len;

	memset(tcp, 0, TCP_HEAD);
	put16(tcp, syn->to.port);
	put16(tcp + 2, syn->from.port);
	put32(tcp + 8, syn->seq + 1);
	tcp[12] = TCP_HEAD / 4 << 4;
	tcp[13] = IP_TCP_RST | IP_TCP_ACK;
	put16(tcp + 16, sum_fold(sum_add(sum_pseudo(syn, PROTO_TCP, TCP_HEAD), tcp, TCP_HEAD)));
	return ip_len + TCP_HEAD;
}

static const struct {
	uint8_t type4, code4, type6, code6;
} icmp_of[] = {
	[IP_UNREACHABLE_HOST] = { 3, 1, 1, 3 },
	[IP_UNREACHABLE_NETWORK] = { 3, 0, 1, 0 },
	[IP_UNREACHABLE_PROHIBITED] = { 3, 13, 1, 1 },
};

size_t ip_tcp_unreachable(const struct ip_tcp *about, struct span packet, enum ip_unreachable why,
			  uint8_t dst[static IP_TCP_UNREACHABLE_CAP])
{
	bool v4 = about->from.family == 4;
	uint8_t protocol = v4 ? PROTO_ICMP : PROTO_ICMP6;
	size_t len = ICMP_HEAD + about->head_len;
	size_t ip_len = put_ip(dst, about, protocol, len);
	uint8_t *icmp = dst + ip_len;

	memset(icmp, 0, ICMP_HEAD);
	icmp[0] = v4 ? icmp_of[why].type4 : icmp_of[why].type6;
	icmp[1] = v4 ? icmp_of[why].code4 : icmp_of[why].code6;
	memcpy(icmp + ICMP_HEAD, packet.data, about->head_len);
	put16(icmp + 2, sum_fold(sum_add(v4 ? 0 : sum_pseudo(about, protocol, len), icmp, len)));
	return ip_len + len;
}
