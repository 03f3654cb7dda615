/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "codec/http1_connect.h"

#define LOGIN_CAP (2 * HTTP1_CONNECT_LOGIN_MAX_BYTES + 2)

int http1_connect_write(char dst[static HTTP1_CONNECT_CAP], const struct addr *to, const char *name,
			const char *user, const char *password)
{
	char authority[300], login[LOGIN_CAP], text[CRYPTO_BASE64_LEN(LOGIN_CAP) + 1] = "";
	int n;

	if (name)
		snprintf(authority, sizeof(authority), "%.253s:%u", name, to->port);
	else
		addr_format(to, authority);
	if (user) {
		n = snprintf(login, sizeof(login), "%s:%s", user, password ? password : "");
		if (n < 0 || (size_t)n >= sizeof(login))
			return -EINVAL;
		crypto_base64(span_of(login, (size_t)n), text);
	}
	return snprintf(dst, HTTP1_CONNECT_CAP, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n",
			authority, authority, user ? "Proxy-Authorization: Basic " : "", text,
			user ? "\r\n" : "");
}

/* Where the empty line ends; 0: it has not come. */
static size_t head_end(struct span in)
{
	for (size_t i = 0; i < in.len; i++) {
		size_t k = i + 1;

		if (in.data[i] != '\n')
			continue;
		if (k < in.len && in.data[k] == '\r')
			k++;
		if (k < in.len && in.data[k] == '\n')
			return k + 1;
	}
	return 0;
}

enum codec_result http1_status_parse(struct span in, uint16_t *ret_status, size_t *ret_head_bytes)
{
	static const char form[] = "HTTP/1.d ddd";
	uint16_t status = 0;
	size_t end;

	for (size_t i = 0; i < sizeof(form) - 1; i++) {
		uint8_t c;

		if (i >= in.len)
			return CODEC_MORE;
		c = in.data[i];
		if (form[i] == 'd' ? c < '0' || c > '9' : c != (uint8_t)form[i])
			return CODEC_BAD;
		if (i > 8)
			status = (uint16_t)(status * 10 + (c - '0'));
	}
	if (in.len > sizeof(form) - 1 && !memchr(" \r\n", in.data[sizeof(form) - 1], 3))
		return CODEC_BAD;
	end = head_end(in);
	if (!end)
		return CODEC_MORE;
	*ret_status = status;
	*ret_head_bytes = end;
	return CODEC_DONE;
}
