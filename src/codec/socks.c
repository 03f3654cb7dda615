/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "codec/socks.h"

enum address_type {
	TYPE_IPV4 = 1,
	TYPE_NAME = 3,
	TYPE_IPV6 = 4,
};

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static struct addr addr_make(uint8_t family, const uint8_t *ip, uint16_t port)
{
	struct addr a = { .family = family, .port = port };

	memcpy(a.ip, ip, family == 4 ? 4 : 16);
	addr_unmap(&a);
	return a;
}

/* A name on the wire: an address in disguise, or a name proper. */
static int name_parse(struct span s, uint16_t port, struct addr *ret,
		      char name[static HOSTNAME_CAP])
{
	char text[ADDR_TEXT_MAX];

	*ret = (struct addr){ .port = port };
	name[0] = '\0';
	if (s.len < sizeof(text) && hostname_is_ip(s)) {
		memcpy(text, s.data, s.len);
		text[s.len] = '\0';
		if (addr_parse_ip(text, ret) < 0)
			return -EINVAL;
		ret->port = port;
		return 0;
	}
	return hostname_parse(s, name);
}

/* ATYP, address, port: as in requests, replies and datagrams.  CODEC_OTHER: unknown type. */
static enum codec_result address_parse(struct span in, struct addr *ret, struct span *ret_name,
				       size_t *ret_bytes)
{
	size_t len;

	if (in.len < 1)
		return CODEC_MORE;
	*ret_name = span_of(NULL, 0);
	switch (in.data[0]) {
	case TYPE_IPV4:
		len = 1 + 4;
		break;
	case TYPE_IPV6:
		len = 1 + 16;
		break;
	case TYPE_NAME:
		if (in.len < 2)
			return CODEC_MORE;
		len = 2 + (size_t)in.data[1];
		break;
	default:
		return CODEC_OTHER;
	}
	if (in.len < len + 2)
		return CODEC_MORE;
	*ret_bytes = len + 2;
	*ret = (struct addr){ .port = be16(in.data + len) };
	if (in.data[0] == TYPE_NAME)
		*ret_name = span_of(in.data + 2, in.data[1]);
	else
		*ret = addr_make(in.data[0] == TYPE_IPV4 ? 4 : 6, in.data + 1, ret->port);
	return CODEC_DONE;
}

static size_t address_write(uint8_t *out, const struct addr *a)
{
	bool v6 = a->family == 6;
	size_t n = v6 ? 16 : 4;

	out[0] = v6 ? TYPE_IPV6 : TYPE_IPV4;
	memcpy(out + 1, a->ip, n); /* unset: zero */
	put16(out + 1 + n, a->port);
	return 1 + n + 2;
}

enum codec_result socks5_methods_parse(struct span in, struct socks_methods *ret)
{
	if (in.len >= 1 && in.data[0] != SOCKS5_VERSION)
		return CODEC_OTHER;
	if (in.len < 2)
		return CODEC_MORE;
	if (!in.data[1])
		return CODEC_BAD;
	if (in.len < 2 + (size_t)in.data[1])
		return CODEC_MORE;
	*ret = (struct socks_methods){ .bytes = 2 + (size_t)in.data[1] };
	for (size_t i = 2; i < ret->bytes; i++) {
		ret->none |= in.data[i] == SOCKS_METHOD_NONE;
		ret->password |= in.data[i] == SOCKS_METHOD_PASSWORD;
	}
	return CODEC_DONE;
}

enum codec_result socks5_login_parse(struct span in, struct socks_login *ret)
{
	size_t n_user, n_password;

	if (in.len >= 1 && in.data[0] != SOCKS_AUTH_VERSION)
		return CODEC_BAD;
	if (in.len < 2)
		return CODEC_MORE;
	n_user = in.data[1];
	if (!n_user)
		return CODEC_BAD;
	if (in.len < 2 + n_user + 1)
		return CODEC_MORE;
	n_password = in.data[2 + n_user];
	if (!n_password)
		return CODEC_BAD;
	if (in.len < 3 + n_user + n_password)
		return CODEC_MORE;
	ret->user = span_of(in.data + 2, n_user);
	ret->password = span_of(in.data + 3 + n_user, n_password);
	ret->bytes = 3 + n_user + n_password;
	return CODEC_DONE;
}

static enum codec_result bad(struct socks_request *ret, enum socks_status status)
{
	ret->status = status;
	return CODEC_BAD;
}

enum codec_result socks5_request_parse(struct span in, struct socks_request *ret)
{
	enum codec_result r;
	struct span name;
	size_t bytes = 0;

	*ret = (struct socks_request){ .version = SOCKS5_VERSION };
	if (in.len >= 1 && in.data[0] != SOCKS5_VERSION)
		return bad(ret, SOCKS_FAILED);
	if (in.len >= 3 && in.data[2])
		return bad(ret, SOCKS_FAILED);
	if (in.len < 4)
		return CODEC_MORE;
	ret->command = in.data[1];
	r = address_parse(span_skip(in, 3), &ret->address, &name, &bytes);
	if (r == CODEC_OTHER)
		return bad(ret, SOCKS_BAD_ADDRESS_TYPE);
	if (r != CODEC_DONE)
		return r;
	ret->bytes = 3 + bytes;
	if (in.data[3] == TYPE_NAME &&
	    name_parse(name, ret->address.port, &ret->address, ret->name) < 0)
		return bad(ret, SOCKS_HOST_UNREACHABLE);
	return CODEC_DONE;
}

/* A string with its NUL.  CODEC_DONE: *ret is without it. */
static enum codec_result string_parse(struct span in, size_t max_bytes, struct span *ret)
{
	struct span s = span_head(in, max_bytes + 1);
	const uint8_t *end = s.len ? memchr(s.data, 0, s.len) : NULL;

	if (!end)
		return in.len > max_bytes ? CODEC_BAD : CODEC_MORE;
	*ret = span_of(s.data, (size_t)(end - s.data));
	return CODEC_DONE;
}

enum codec_result socks4_request_parse(struct span in, struct socks_request *ret)
{
	enum codec_result r;
	struct span name;

	*ret = (struct socks_request){ .version = SOCKS4_VERSION, .status = SOCKS_FAILED };
	if (in.len >= 1 && in.data[0] != SOCKS4_VERSION)
		return CODEC_OTHER;
	if (in.len < 8)
		return CODEC_MORE;
	ret->command = in.data[1];
	ret->address = addr_make(4, in.data + 4, be16(in.data + 2));
	r = string_parse(span_skip(in, 8), SOCKS4_USER_MAX_BYTES, &ret->user);
	if (r != CODEC_DONE)
		return r;
	ret->bytes = 8 + ret->user.len + 1;
	if (in.data[4] || in.data[5] || in.data[6] || !in.data[7])
		return CODEC_DONE;
	r = string_parse(span_skip(in, ret->bytes), HOSTNAME_CAP, &name);
	if (r != CODEC_DONE)
		return r;
	ret->bytes += name.len + 1;
	if (name_parse(name, ret->address.port, &ret->address, ret->name) < 0)
		return CODEC_BAD;
	return CODEC_DONE;
}

size_t socks5_reply_write(uint8_t out[static SOCKS_REPLY_MAX_BYTES], enum socks_status status,
			  const struct addr *bound)
{
	out[0] = SOCKS5_VERSION;
	out[1] = (uint8_t)status;
	out[2] = 0;
	return 3 + address_write(out + 3, bound);
}

size_t socks4_reply_write(uint8_t out[static SOCKS_REPLY_MAX_BYTES], enum socks4_status status,
			  const struct addr *bound)
{
	out[0] = 0;
	out[1] = (uint8_t)status;
	put16(out + 2, bound->port);
	if (bound->family == 4)
		memcpy(out + 4, bound->ip, 4);
	else
		memset(out + 4, 0, 4);
	return 8;
}

enum codec_result socks_datagram_parse(struct span in, struct socks_datagram *ret)
{
	struct span name;
	size_t bytes = 0;

	if (in.len < 4 || in.data[0] || in.data[1])
		return CODEC_BAD;
	*ret = (struct socks_datagram){ .fragment = in.data[2] };
	if (address_parse(span_skip(in, 3), &ret->address, &name, &bytes) != CODEC_DONE)
		return CODEC_BAD;
	ret->bytes = 3 + bytes;
	if (in.data[3] == TYPE_NAME &&
	    name_parse(name, ret->address.port, &ret->address, ret->name) < 0)
		return CODEC_BAD;
	return CODEC_DONE;
}

size_t socks_datagram_write(uint8_t out[static SOCKS_REPLY_MAX_BYTES], const struct addr *from)
{
	memset(out, 0, 3);
	return 3 + address_write(out + 3, from);
}

enum codec_result socks5_reply_parse(struct span in, uint8_t *ret_status, struct addr *ret_bound,
				     size_t *ret_bytes)
{
	enum codec_result r;
	struct span name;
	size_t bytes = 0;

	if (in.len >= 1 && in.data[0] != SOCKS5_VERSION)
		return CODEC_BAD;
	if (in.len < 4)
		return CODEC_MORE;
	r = address_parse(span_skip(in, 3), ret_bound, &name, &bytes);
	if (r == CODEC_OTHER)
		return CODEC_BAD;
	if (r != CODEC_DONE)
		return r;
	*ret_status = in.data[1];
	*ret_bytes = 3 + bytes;
	return CODEC_DONE;
}

int socks5_request_write(uint8_t out[static SOCKS_UDP_HEADER_MAX_BYTES], enum socks_command command,
			 const struct addr *to, const char *name)
{
	size_t n;

	out[0] = SOCKS5_VERSION;
	out[1] = (uint8_t)command;
	out[2] = 0;
	if (!name)
		return 3 + (int)address_write(out + 3, to);
	n = strlen(name);
	if (!n || n > 255)
		return -EINVAL;
	out[3] = TYPE_NAME;
	out[4] = (uint8_t)n;
	memcpy(out + 5, name, n);
	put16(out + 5 + n, to->port);
	return 5 + (int)n + 2;
}
