/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_IP_TCP_H
#define CODEC_IP_TCP_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"
#include "codec/codec.h"

/* The flags of a TCP header. */
enum {
	IP_TCP_FIN = 0x01,
	IP_TCP_SYN = 0x02,
	IP_TCP_RST = 0x04,
	IP_TCP_ACK = 0x10,
};

/* The longest head that is understood: IPv4 and TCP with all their options, and a little more. */
#define IP_TCP_HEAD_MAX 128

/**
 * struct ip_tcp - the head of a TCP segment
 * @from, @to:	with ports; scope_id is 0, for a packet does not say where it came in
 * @seq:	sequence number of its first byte (of the SYN, if it has one)
 * @flags:	IP_TCP_* and the other bits of that byte
 * @head_len:	bytes of IP and TCP headers, with options
 */
struct ip_tcp {
	struct addr from, to;
	uint32_t seq;
	uint8_t flags;
	size_t head_len;
};

/**
 * ip_tcp_parse() - a packet from its IP header on
 * @in:	the beginning of the packet is enough
 *
 * CODEC_OTHER: something else than TCP, or a fragment.  CODEC_BAD: lengths that cannot be, or a
 * head above IP_TCP_HEAD_MAX.  CODEC_MORE: cut off.  Checksums are not looked at: the kernel
 * will, once it gets the packet.
 *
 * Source: RFC 791 section 3.1, RFC 8200 sections 3 and 4, RFC 9293 section 3.1.
 */
enum codec_result ip_tcp_parse(struct span in, struct ip_tcp *ret);

/* Room for what ip_tcp_refuse() writes. */
#define IP_TCP_REFUSAL_CAP 128

/**
 * ip_tcp_refuse() - the RST that a closed port answers a SYN with
 * @syn:	as parsed
 * @dst:	the packet: IP header (its IPv4 checksum, too) and TCP header
 *
 * Source: RFC 9293 section 3.5.2, group 1.  Return: bytes written.
 */
size_t ip_tcp_refuse(const struct ip_tcp *syn, uint8_t dst[static IP_TCP_REFUSAL_CAP]);

/* Who cannot be reached, in the words of both ICMPs. */
enum ip_unreachable {
	IP_UNREACHABLE_HOST,
	IP_UNREACHABLE_NETWORK,
	IP_UNREACHABLE_PROHIBITED,
};

/* Room for what ip_tcp_unreachable() writes. */
#define IP_TCP_UNREACHABLE_CAP (40 + 8 + IP_TCP_HEAD_MAX)

/**
 * ip_tcp_unreachable() - the ICMP or ICMPv6 error about a segment, to its sender
 * @about:	as parsed; the error seems to come from where it was to go
 * @packet:	the segment's bytes, at least @about->head_len of them
 *
 * Source: RFC 792, RFC 1812 section 4.3.2.3, RFC 4443 section 3.1.  Return: bytes written.
 */
size_t ip_tcp_unreachable(const struct ip_tcp *about, struct span packet, enum ip_unreachable why,
			  uint8_t dst[static IP_TCP_UNREACHABLE_CAP]);

#endif
