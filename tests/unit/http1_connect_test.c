/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/http1_connect.h"

static void test_request(void **state)
{
	char out[HTTP1_CONNECT_CAP], name[254], login[300];
	struct addr a;
	int n;

	(void)state;
	assert_int_equal(addr_parse("[2001:db8::1]:443", &a), 0);
	n = http1_connect_write(out, &a, NULL, NULL, NULL);
	assert_string_equal(out, "CONNECT [2001:db8::1]:443 HTTP/1.1\r\n"
				 "Host: [2001:db8::1]:443\r\n\r\n");
	assert_int_equal(n, strlen(out));
	http1_connect_write(out, &a, "name.test", "ada", "lovelace");
	assert_string_equal(out, "CONNECT name.test:443 HTTP/1.1\r\nHost: name.test:443\r\n"
				 "Proxy-Authorization: Basic YWRhOmxvdmVsYWNl\r\n\r\n");
	/* the longest of each fit */
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(login, 'l', sizeof(login));
	login[HTTP1_CONNECT_LOGIN_MAX_BYTES] = '\0';
	n = http1_connect_write(out, &a, name, login, login);
	assert_int_equal(n, strlen(out));
	assert_string_equal(out + n - 4, "\r\n\r\n");
	login[HTTP1_CONNECT_LOGIN_MAX_BYTES] = 'l';
	login[sizeof(login) - 1] = '\0';
	assert_int_equal(http1_connect_write(out, &a, name, login, login), -EINVAL);
}

/* Whole, and what all shorter beginnings of it say. */
static void test_status_at_each_byte(void **state)
{
	static const struct {
		const char *head;
		uint16_t status;
	} good[] = {
		{ "HTTP/1.1 200 Connection established\r\n\r\n", 200 },
		{ "HTTP/1.0 407\r\nProxy-Authenticate: Basic\r\nA: b\r\n\r\n", 407 },
		{ "HTTP/1.1 503 x\n\n", 503 },
		{ "HTTP/1.1 502 x\nA: b\n\r\n", 502 },
	};
	uint16_t status;
	size_t n;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(good); i++) {
		size_t len = strlen(good[i].head);
		char more[200];

		for (size_t at = 0; at < len; at++)
			assert_int_equal(http1_status_parse(span_of(good[i].head, at), &status, &n),
					 CODEC_MORE);
		snprintf(more, sizeof(more), "%s\r\n\r\nmore", good[i].head);
		assert_int_equal(http1_status_parse(span_str(more), &status, &n), CODEC_DONE);
		assert_int_equal(status, good[i].status);
		assert_int_equal(n, len);
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"SSH-2.0", "\x05", "HTTP/2", "HTTP/1.x", "HTTP/1.1 2x", "HTTP/1.1 2000", "http/1.1",
	};
	uint16_t status;
	size_t n;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(http1_status_parse(span_str(bad[i]), &status, &n), CODEC_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_status_at_each_byte),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
