/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "codec/proxy_header.h"

static const char v1_signature[] = "PROXY ";
static const uint8_t v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

enum {
	V2_LOCAL = 0x20,
	V2_PROXY = 0x21,
};

enum family {
	FAMILY_UNSPEC = 0,
	FAMILY_IPV4 = 1,
	FAMILY_IPV6 = 2,
	FAMILY_UNIX = 3,
};

enum tlv {
	TLV_ALPN = 0x01,
	TLV_AUTHORITY = 0x02,
	TLV_CRC32C = 0x03,
	TLV_UNIQUE_ID = 0x05,
	TLV_SSL = 0x20,
	TLV_SSL_VERSION = 0x21,
	TLV_SSL_CN = 0x22,
	TLV_SSL_CIPHER = 0x23,
	TLV_NETNS = 0x30,
};

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* ---- version 1 ---- */

/* The word before the next space, or up to the end of @s; false: empty. */
static bool word_take(struct span *s, struct span *ret)
{
	const uint8_t *end = s->len ? memchr(s->data, ' ', s->len) : NULL;

	*ret = span_head(*s, end ? (size_t)(end - s->data) : s->len);
	*s = span_skip(*s, ret->len + (end ? 1 : 0));
	return ret->len > 0;
}

/* Decimal without sign or leading zeros. */
static bool number_parse(struct span s, unsigned int max, unsigned int *ret)
{
	*ret = 0;
	if (!s.len || s.len > 5 || (s.len > 1 && s.data[0] == '0'))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9')
			return false;
		*ret = *ret * 10 + (s.data[i] - '0');
	}
	return *ret <= max;
}

static bool ipv4_parse(struct span s, struct addr *ret)
{
	unsigned int part;

	*ret = (struct addr){ .family = 4 };
	for (int i = 0; i < 4; i++) {
		const uint8_t *dot = s.len ? memchr(s.data, '.', s.len) : NULL;
		size_t n = dot ? (size_t)(dot - s.data) : s.len;

		if (!dot != (i == 3) || !number_parse(span_head(s, n), 255, &part))
			return false;
		ret->ip[i] = (uint8_t)part;
		s = span_skip(s, n + 1);
	}
	return true;
}

static bool ipv6_parse(struct span s, struct addr *ret)
{
	char text[ADDR_TEXT_MAX];

	if (s.len >= sizeof(text) || memchr(s.data, '%', s.len) || !memchr(s.data, ':', s.len))
		return false;
	memcpy(text, s.data, s.len);
	text[s.len] = '\0';
	return strlen(text) == s.len && addr_parse_ip(text, ret) == 0;
}

static bool address_parse(struct span s, bool v6, struct addr *ret)
{
	return v6 ? ipv6_parse(s, ret) : ipv4_parse(s, ret);
}

/* The line without its CRLF and without "PROXY ". */
static enum codec_result v1_line(struct span line, struct proxy_header *ret)
{
	struct span word[5];
	unsigned int port[2];
	bool v6;

	if (!word_take(&line, &word[0]))
		return CODEC_BAD;
	if (span_eq_str(word[0], "UNKNOWN"))
		return CODEC_DONE; /* whatever stands behind it */
	v6 = span_eq_str(word[0], "TCP6");
	if (!v6 && !span_eq_str(word[0], "TCP4"))
		return CODEC_BAD;
	if (!line.len || line.data[line.len - 1] == ' ')
		return CODEC_BAD;
	for (int i = 1; i < 5; i++)
		if (!word_take(&line, &word[i]) || (i < 4) != (line.len > 0))
			return CODEC_BAD;
	if (!address_parse(word[1], v6, &ret->source) ||
	    !address_parse(word[2], v6, &ret->destination) ||
	    !number_parse(word[3], 65535, &port[0]) || !number_parse(word[4], 65535, &port[1]))
		return CODEC_BAD;
	ret->source.port = (uint16_t)port[0];
	ret->destination.port = (uint16_t)port[1];
	return CODEC_DONE;
}

static enum codec_result v1_parse(struct span in, struct proxy_header *ret)
{
	const size_t n = sizeof(v1_signature) - 1;
	struct span s = span_head(in, PROXY_V1_MAX_BYTES);
	const uint8_t *end = memchr(s.data, '\n', s.len);
	enum codec_result r;

	if (!end) /* the shortest that could still be meant ends in CR */
		return in.len >= PROXY_V1_MAX_BYTES ? CODEC_BAD : CODEC_MORE;
	if (end == s.data || end[-1] != '\r')
		return CODEC_BAD;
	ret->version = 1;
	ret->bytes = (size_t)(end - s.data) + 1;
	s = span_head(s, ret->bytes - 2);
	if (memchr(s.data, '\r', s.len) || memchr(s.data, '\0', s.len) || s.len < n)
		return CODEC_BAD;
	r = v1_line(span_skip(s, n), ret);
	if (r != CODEC_DONE)
		*ret = (struct proxy_header){ 0 };
	return r;
}

/* ---- version 2 ---- */

/* CRC-32C, RFC 3720 appendix B.4, bit by bit: headers are short. */
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82f63b78 & -(crc & 1));
	}
	return crc;
}

/* The header's sum, its own four bytes at @at taken as zero. */
static uint32_t header_sum(struct span header, size_t at)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(UINT32_MAX, header.data, at);

	crc = crc32c(crc, zero, sizeof(zero));
	return ~crc32c(crc, header.data + at + 4, header.len - at - 4);
}

/* One TLV from the front of @s; false: it does not fit. */
static bool tlv_take(struct span *s, uint8_t *ret_type, struct span *ret)
{
	size_t len;

	if (s->len < 3)
		return false;
	len = be16(s->data + 1);
	if (s->len < 3 + len)
		return false;
	*ret_type = s->data[0];
	*ret = span_of(s->data + 3, len);
	*s = span_skip(*s, 3 + len);
	return true;
}

static bool ssl_parse(struct span s, struct proxy_header *ret)
{
	struct span value;
	uint8_t type;

	if (s.len < 5)
		return false;
	ret->ssl = true;
	ret->ssl_client = s.data[0];
	ret->ssl_verified = (s.data[0] & 6) && !memcmp(s.data + 1, "\0\0\0", 4);
	for (s = span_skip(s, 5); s.len;) {
		if (!tlv_take(&s, &type, &value))
			return false;
		if (type == TLV_SSL_VERSION)
			ret->ssl_version = value;
		else if (type == TLV_SSL_CN)
			ret->ssl_cn = value;
		else if (type == TLV_SSL_CIPHER)
			ret->ssl_cipher = value;
	}
	return true;
}

static bool tlv_note(struct span header, uint8_t type, struct span value, struct proxy_header *ret)
{
	switch (type) {
	case TLV_ALPN:
		ret->alpn = value;
		return true;
	case TLV_AUTHORITY:
		ret->authority = value;
		return true;
	case TLV_UNIQUE_ID:
		ret->unique_id = value;
		return value.len <= PROXY_UNIQUE_ID_MAX_BYTES;
	case TLV_NETNS:
		ret->netns = value;
		return true;
	case TLV_SSL:
		return ssl_parse(value, ret);
	case TLV_CRC32C:
		return value.len == 4 &&
		       header_sum(header, (size_t)(value.data - header.data)) ==
			       ((uint32_t)be16(value.data) << 16 | be16(value.data + 2));
	default:
		return true;
	}
}

static void v2_addresses(const uint8_t *p, bool v6, struct proxy_header *ret)
{
	size_t n = v6 ? 16 : 4;

	ret->source.family = ret->destination.family = v6 ? 6 : 4;
	memcpy(ret->source.ip, p, n);
	memcpy(ret->destination.ip, p + n, n);
	ret->source.port = be16(p + 2 * n);
	ret->destination.port = be16(p + 2 * n + 2);
	addr_unmap(&ret->source);
	addr_unmap(&ret->destination);
}

/* Bytes of the addresses of a family; -1: there is no such family. */
static int v2_address_bytes(uint8_t family)
{
	switch (family) {
	case FAMILY_UNSPEC:
		return 0;
	case FAMILY_IPV4:
		return 12;
	case FAMILY_IPV6:
		return 36;
	case FAMILY_UNIX:
		return 216;
	default:
		return -1;
	}
}

/* @header is whole. */
static bool v2_body(struct span header, struct proxy_header *ret)
{
	uint8_t command = header.data[12], family = header.data[13] >> 4;
	uint8_t transport = header.data[13] & 15, type;
	struct span body = span_skip(header, PROXY_V2_FIXED_BYTES), value;
	int n = v2_address_bytes(family);

	ret->local = command == V2_LOCAL;
	if (ret->local) /* whatever else it says (section 2.2) */
		return true;
	if (n < 0 || transport > 2 || body.len < (size_t)n)
		return false;
	ret->datagram = transport == 2;
	if (transport && (family == FAMILY_IPV4 || family == FAMILY_IPV6))
		v2_addresses(body.data, family == FAMILY_IPV6, ret);
	for (body = span_skip(body, (size_t)n); body.len;)
		if (!tlv_take(&body, &type, &value) || !tlv_note(header, type, value, ret))
			return false;
	return true;
}

static enum codec_result v2_parse(struct span in, struct proxy_header *ret)
{
	if (in.len > 12 && in.data[12] != V2_LOCAL && in.data[12] != V2_PROXY)
		return CODEC_BAD;
	if (in.len < PROXY_V2_FIXED_BYTES)
		return CODEC_MORE;
	ret->bytes = PROXY_V2_FIXED_BYTES + (size_t)be16(in.data + 14);
	if (in.len < ret->bytes)
		return CODEC_MORE;
	ret->version = 2;
	return v2_body(span_head(in, ret->bytes), ret) ? CODEC_DONE : CODEC_BAD;
}

static bool begins_with(struct span in, const void *signature, size_t n)
{
	return !memcmp(in.data, signature, in.len < n ? in.len : n);
}

enum codec_result proxy_header_parse(struct span in, struct proxy_header *ret)
{
	*ret = (struct proxy_header){ 0 };
	if (!in.len)
		return CODEC_MORE;
	if (begins_with(in, v1_signature, sizeof(v1_signature) - 1))
		return in.len < sizeof(v1_signature) - 1 ? CODEC_MORE : v1_parse(in, ret);
	if (begins_with(in, v2_signature, sizeof(v2_signature)))
		return in.len < sizeof(v2_signature) ? CODEC_MORE : v2_parse(in, ret);
	return CODEC_OTHER;
}

/* ---- writing ---- */

static size_t v1_write(uint8_t *out, const struct addr *source, const struct addr *destination)
{
	char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];
	bool v6 = source->family == 6 || destination->family == 6;
	/* a mapped address is written as one */
	const char *map_from = v6 && source->family == 4 ? "::ffff:" : "";
	const char *map_to = v6 && destination->family == 4 ? "::ffff:" : "";
	struct addr a = *source, b = *destination;
	int n;

	a.scope_id = b.scope_id = 0;
	if (!a.family || !b.family)
		n = snprintf((char *)out, PROXY_HEADER_WRITE_CAP, "PROXY UNKNOWN\r\n");
	else
		n = snprintf((char *)out, PROXY_HEADER_WRITE_CAP, "PROXY TCP%c %s%s %s%s %u %u\r\n",
			     v6 ? '6' : '4', map_from, addr_format_ip(&a, from), map_to,
			     addr_format_ip(&b, to), a.port, b.port);
	return (size_t)n;
}

static uint8_t *put_ip(uint8_t *p, const struct addr *a, bool v6)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (v6 && a->family == 4) {
		memcpy(p, mapped, sizeof(mapped));
		p += sizeof(mapped);
	}
	memcpy(p, a->ip, a->family == 6 ? 16 : 4);
	return p + (a->family == 6 ? 16 : 4);
}

static uint8_t *put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static size_t v2_write(uint8_t *out, const struct addr *source, const struct addr *destination,
		       bool datagram, struct span authority)
{
	bool known = source->family && destination->family;
	bool v6 = source->family == 6 || destination->family == 6;
	uint8_t *p = out + PROXY_V2_FIXED_BYTES;

	memcpy(out, v2_signature, sizeof(v2_signature));
	out[12] = known ? V2_PROXY : V2_LOCAL;
	out[13] = 0;
	if (known) {
		out[13] = (uint8_t)((v6 ? FAMILY_IPV6 : FAMILY_IPV4) << 4 | (datagram ? 2 : 1));
		p = put_ip(put_ip(p, source, v6), destination, v6);
		p = put16(put16(p, source->port), destination->port);
	}
	if (authority.len && authority.len <= PROXY_AUTHORITY_MAX_BYTES) {
		*p++ = TLV_AUTHORITY;
		p = put16(p, (uint16_t)authority.len);
		memcpy(p, authority.data, authority.len);
		p += authority.len;
	}
	put16(out + 14, (uint16_t)(p - out - PROXY_V2_FIXED_BYTES));
	return (size_t)(p - out);
}

size_t proxy_header_write(uint8_t out[static PROXY_HEADER_WRITE_CAP], uint8_t version,
			  const struct addr *source, const struct addr *destination, bool datagram,
			  struct span authority)
{
	return version == 1 ? v1_write(out, source, destination)
			    : v2_write(out, source, destination, datagram, authority);
}
