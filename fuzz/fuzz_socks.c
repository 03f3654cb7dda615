/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte of the input chooses the message. */
#include "fuzz.h"
#include "socks_split.h"

static void request_check(const struct split *s, struct span in, size_t stride)
{
	struct socks_request req = { 0 };
	uint8_t out[SOCKS_UDP_HEADER_MAX_BYTES];
	struct socks_request again;
	int n;

	if (split_check(s, in, stride, &req) != CODEC_DONE)
		return;
	REQUIRE(req.bytes <= in.len && req.user.len <= SOCKS4_USER_MAX_BYTES);
	REQUIRE(*req.name ? !req.address.family : req.address.family);
	/* What was understood says the same when it is written. */
	n = socks5_request_write(out, SOCKS_CONNECT, &req.address, *req.name ? req.name : NULL);
	REQUIRE(n > 0 && n <= SOCKS_UDP_HEADER_MAX_BYTES);
	REQUIRE(socks5_request_parse(span_of(out, (size_t)n), &again) == CODEC_DONE);
	REQUIRE(again.bytes == (size_t)n && !strcmp(again.name, req.name) &&
		addr_eq(&again.address, &req.address));
}

static void datagram_check(struct span in)
{
	uint8_t out[SOCKS_UDP_HEADER_MAX_BYTES];
	struct socks_datagram d, again;
	size_t n;

	if (socks_datagram_parse(in, &d) != CODEC_DONE)
		return;
	REQUIRE(d.bytes <= in.len);
	if (*d.name)
		return;
	n = socks_datagram_write(out, &d.address);
	REQUIRE(socks_datagram_parse(span_of(out, n), &again) == CODEC_DONE);
	REQUIRE(again.bytes == n && !again.fragment && addr_eq(&again.address, &d.address));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = size ? span_of(data + 1, size - 1) : span_of(data, 0);
	size_t stride = size / 16 + 1;
	struct socks_methods methods;
	struct socks_login login;
	struct socks_reply reply;

	switch (size ? data[0] % 6 : 0) {
	case 0:
		split_check(&socks_methods_split, in, stride, &methods);
		break;
	case 1:
		if (split_check(&socks_login_split, in, stride, &login) == CODEC_DONE)
			REQUIRE(login.user.len && login.password.len && login.bytes <= in.len);
		break;
	case 2:
		request_check(&socks5_request_split, in, stride);
		break;
	case 3:
		request_check(&socks4_request_split, in, stride);
		break;
	case 4:
		datagram_check(in);
		break;
	case 5:
		split_check(&socks5_reply_split, in, stride, &reply);
		break;
	}
	return 0;
}
