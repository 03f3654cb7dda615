/* SPDX-License-Identifier: Apache-2.0 */
/* Where messages end, and what of them is content: RFC 9112 sections 6 and 7. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/http1_body.h"
#include "http1_body_split.h"

static int summary_of(const char *lines, struct http1_summary *s)
{
	struct http1_field fields[HTTP1_MAX_FIELDS];
	int n = http1_fields_parse(span_str(lines), false, fields, HTTP1_MAX_FIELDS);

	assert_true(n >= 0);
	return http1_summary_read(fields, (size_t)n, s);
}

static void test_request_framing(void **state)
{
	static const struct {
		const char *lines;
		uint8_t minor;
		int r;
		enum http1_framing framing;
		uint64_t left;
	} cases[] = {
		{ "", 1, 0, HTTP1_NO_BODY, 0 },
		{ "Content-Length: 0\r\n", 1, 0, HTTP1_LENGTH, 0 },
		{ "content-LENGTH:  42 \r\n", 0, 0, HTTP1_LENGTH, 42 },
		{ "Content-Length: 999999999999999999\r\n", 1, 0, HTTP1_LENGTH,
		  999999999999999999 },
		{ "Content-Length: 1844674407370955161600\r\n", 1, -EINVAL, 0, 0 },
		{ "Content-Length: 5\r\nContent-Length: 5\r\n", 1, -EINVAL, 0, 0 },
		{ "Content-Length: 5, 5\r\n", 1, -EINVAL, 0, 0 },
		{ "Content-Length: +5\r\n", 1, -EINVAL, 0, 0 },
		{ "Content-Length: 5x\r\n", 1, -EINVAL, 0, 0 },
		{ "Content-Length:\r\n", 1, -EINVAL, 0, 0 },
		{ "Transfer-Encoding: chunked\r\n", 1, 0, HTTP1_CHUNKED, 0 },
		{ "Transfer-Encoding: , Chunked ,\r\n", 1, 0, HTTP1_CHUNKED, 0 },
		{ "Transfer-Encoding: chunked\r\n", 0, -EINVAL, 0, 0 },
		{ "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 1, -EINVAL, 0, 0 },
		{ "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 1, -EINVAL, 0,
		  0 },
		{ "Transfer-Encoding: gzip, chunked\r\n", 1, -EOPNOTSUPP, 0, 0 },
		{ "Transfer-Encoding: chunked, gzip\r\n", 1, -EINVAL, 0, 0 },
		{ "Transfer-Encoding: chunked;x\r\n", 1, -EINVAL, 0, 0 },
		{ "Transfer-Encoding: \r\n", 1, -EINVAL, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http1_summary s;
		struct http1_body body;

		assert_int_equal(summary_of(cases[i].lines, &s), 0);
		assert_int_equal(http1_request_body(&s, cases[i].minor, &body), cases[i].r);
		if (cases[i].r)
			continue;
		assert_int_equal(body.framing, cases[i].framing);
		assert_int_equal(body.left, cases[i].left);
	}
}

static void test_response_framing(void **state)
{
	static const struct {
		const char *lines;
		unsigned int status;
		bool head;
		enum http1_framing framing;
	} cases[] = {
		{ "", 200, false, HTTP1_TO_THE_END },
		{ "", 200, true, HTTP1_NO_BODY },
		{ "", 204, false, HTTP1_NO_BODY },
		{ "Content-Length: 5\r\n", 304, false, HTTP1_NO_BODY },
		{ "Content-Length: 5\r\n", 103, false, HTTP1_NO_BODY },
		{ "Content-Length: 5\r\n", 200, true, HTTP1_NO_BODY },
		{ "Content-Length: 5\r\n", 404, false, HTTP1_LENGTH },
		{ "Transfer-Encoding: chunked\r\n", 500, false, HTTP1_CHUNKED },
	};
	struct http1_summary s;
	struct http1_body body;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(summary_of(cases[i].lines, &s), 0);
		assert_int_equal(http1_response_body(&s, 1, cases[i].status, cases[i].head, &body),
				 0);
		assert_int_equal(body.framing, cases[i].framing);
	}
	assert_int_equal(summary_of("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &s), 0);
	assert_int_equal(http1_response_body(&s, 1, 304, true, &body), -EINVAL);
}

static void test_chunked(void **state)
{
	static const struct {
		const char *in, *content, *trailers;
		enum codec_result result;
	} cases[] = {
		{ "0\r\n\r\n", "", "\r\n", CODEC_DONE },
		{ "5\r\nhello\r\n0\r\n\r\n", "hello", "\r\n", CODEC_DONE },
		{ "1;a=\"b\"\r\nh\r\n004 \r\nello\r\n0;x\r\nA: b\r\nC: d\r\n\r\nrest", "hello",
		  "A: b\r\nC: d\r\n\r\n", CODEC_DONE },
		{ "A\r\n0123456789\r\na\r\n0123456789\r\n", "01234567890123456789", "",
		  CODEC_MORE },
		{ "5\r\nhel", "hel", "", CODEC_MORE },
		{ "5\nhello", "", "", CODEC_BAD },
		{ "5\r\nhello\n", "", "", CODEC_BAD },
		{ "5\r\nhelloX", "", "", CODEC_BAD },
		{ "\r\n", "", "", CODEC_BAD },
		{ ";x\r\n", "", "", CODEC_BAD },
		{ "-5\r\n", "", "", CODEC_BAD },
		{ "0x5\r\n", "", "", CODEC_BAD },
		{ "1000000000000000\r\n", "", "", CODEC_BAD },
		{ "5;\x01\r\n", "", "", CODEC_BAD },
		{ "0\r\nA: \x0b\r\n\r\n", "", "", CODEC_BAD },
		{ "0\r\n\rX", "", "", CODEC_BAD },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct body_split_ret ret;
		enum codec_result r = split_check(&body_split, span_str(cases[i].in), 1, &ret);

		if (r != cases[i].result)
			fail_msg("case %zu: %d", i, r);
		if (r == CODEC_BAD)
			continue;
		assert_true(span_eq_str(span_of(ret.content, ret.n_content), cases[i].content));
		assert_true(span_eq_str(span_of(ret.trailers, ret.n_trailers), cases[i].trailers));
	}
}

static void test_limits(void **state)
{
	uint8_t bytes[HTTP1_TRAILERS_MAX_BYTES + 64];
	struct http1_body body = { .framing = HTTP1_CHUNKED };
	struct span trailers;
	size_t used, content;

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes, "0\r\n", 3);
	assert_int_equal(http1_body_read(&body, bytes, sizeof(bytes), &used, &content, &trailers),
			 CODEC_BAD);
	body = (struct http1_body){ .framing = HTTP1_CHUNKED };
	memcpy(bytes, "5;x", 3);
	assert_int_equal(http1_body_read(&body, bytes, sizeof(bytes), &used, &content, &trailers),
			 CODEC_BAD);
}

static void test_length_and_end(void **state)
{
	uint8_t bytes[] = "hello and more";
	struct http1_body body = { .framing = HTTP1_LENGTH, .left = 5 };
	struct span trailers;
	size_t used, content;

	(void)state;
	assert_int_equal(http1_body_read(&body, bytes, 2, &used, &content, &trailers), CODEC_MORE);
	assert_int_equal(used, 2);
	assert_int_equal(http1_body_read(&body, bytes + 2, 12, &used, &content, &trailers),
			 CODEC_DONE);
	assert_int_equal(used, 3);
	assert_int_equal(content, 3);
	body = (struct http1_body){ .framing = HTTP1_TO_THE_END };
	assert_int_equal(http1_body_read(&body, bytes, 14, &used, &content, &trailers), CODEC_MORE);
	assert_int_equal(content, 14);
	body = (struct http1_body){ 0 };
	assert_int_equal(http1_body_read(&body, bytes, 14, &used, &content, &trailers), CODEC_DONE);
	assert_int_equal(used, 0);
}

static void test_what_goes_on(void **state)
{
	static const char lines[] =
		"Connection: close, X-Hop\r\nconnection: x-other\r\nX-Hop: 1\r\n"
		"X-OTHER: 1\r\nX-End: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n"
		"Proxy-Authorization: x\r\nProxy-Connection: x\r\nHost: x\r\n"
		"Keep-Alive: x\r\nExpect: x\r\nTrailer: x\r\nContent-Type: x\r\n";
	struct http1_field fields[HTTP1_MAX_FIELDS];
	struct http1_summary s;
	char on[64] = "";
	int n = http1_fields_parse(span_str(lines), false, fields, HTTP1_MAX_FIELDS);

	(void)state;
	assert_int_equal(n, 14);
	assert_int_equal(http1_summary_read(fields, (size_t)n, &s), 0);
	assert_true(s.close && s.options && !s.keep_alive && !s.upgrade);
	for (size_t i = 0; i < (size_t)n; i++)
		if (http1_goes_on(&s, fields, (size_t)n, i))
			snprintf(on + strlen(on), sizeof(on) - strlen(on), "%.*s ",
				 (int)fields[i].name.len, (const char *)fields[i].name.data);
	assert_string_equal(on, "X-End Trailer Content-Type ");
	assert_int_equal(summary_of("Connection: Content-Length\r\n", &s), -EINVAL);
	assert_int_equal(summary_of("Connection: transfer-encoding, close\r\n", &s), -EINVAL);
	assert_int_equal(summary_of("Connection: a b\r\n", &s), -EINVAL);
}

static void test_malformed_fields(void **state)
{
	static const char *const cases[] = {
		"X\r\n", "X: a\n",	   "X: a\r",	   ": a\r\n",	  "X : a\r\n", " X: a\r\n",
		"\r\n",	 "X: a\r\n b\r\n", "X\x01: a\r\n", "X: \x7f\r\n", "X: a"
	};
	struct http1_field fields[2];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(http1_fields_parse(span_str(cases[i]), false, fields, 2), -EINVAL);
	assert_int_equal(http1_fields_parse(span_str("A:\r\nB:\r\nC:\r\n"), false, fields, 2),
			 -EINVAL);
	assert_int_equal(http1_fields_parse(span_str("X \t: a\r\n"), true, fields, 2), 1);
	assert_true(span_eq_str(fields[0].name, "X"));
}

static void test_response_heads(void **state)
{
	static const struct {
		const char *in;
		enum codec_result result;
		unsigned int status;
		const char *reason;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\n\r\n", CODEC_DONE, 200, "OK" },
		{ "HTTP/1.0 404 Not  Found\r\nA: b\r\n\r\nrest", CODEC_DONE, 404, "Not  Found" },
		{ "HTTP/1.1 204 \r\nServer : x\r\n\r\n", CODEC_DONE, 204, "" },
		{ "HTTP/1.1 204\r\n\r\n", CODEC_DONE, 204, "" },
		{ "HTTP/1.1 200 OK\r\nA: b\r\n", CODEC_MORE, 0, NULL },
		{ "HTTP/1.1 099 X\r\n\r\n", CODEC_BAD, 0, NULL },
		{ "HTTP/1.1 999 X\r\n\r\n", CODEC_DONE, 999, "X" },
		{ "HTTP/1.1 2000 X\r\n\r\n", CODEC_BAD, 0, NULL },
		{ "HTTP/1.1  200 X\r\n\r\n", CODEC_BAD, 0, NULL },
		{ "HTTP/1.2 200 X\r\n\r\n", CODEC_DONE, 200, "X" },
		{ "HTTP/1.x 200 X\r\n\r\n", CODEC_BAD, 0, NULL },
		{ "HTTP/1.1 200 X\nA: b\r\n\r\n", CODEC_BAD, 0, NULL },
		{ "HTTP/1.1 200 X\n", CODEC_BAD, 0, NULL }, /* at once: nothing more may come */
		{ "HTTP/1.1 200 X\r\nA: b\n\n", CODEC_BAD, 0, NULL },
		{ "HTTP/1.1 200 X\r\nA: b\r\n c\r\n\r\n", CODEC_BAD, 0, NULL },
		{ "HTTP/2.0 200 X\r\n\r\n", CODEC_OTHER, 0, NULL },
		{ "SSH-2.0-x\r\n", CODEC_OTHER, 0, NULL },
		{ "<html>", CODEC_OTHER, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http1_response ret;
		enum codec_result r = split_check(&response_split, span_str(cases[i].in), 1, &ret);

		if (r != cases[i].result)
			fail_msg("%s: %d", cases[i].in, r);
		if (r != CODEC_DONE)
			continue;
		assert_int_equal(ret.status, cases[i].status);
		assert_true(span_eq_str(ret.reason, cases[i].reason));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_framing),	 cmocka_unit_test(test_response_framing),
		cmocka_unit_test(test_chunked),		 cmocka_unit_test(test_limits),
		cmocka_unit_test(test_length_and_end),	 cmocka_unit_test(test_what_goes_on),
		cmocka_unit_test(test_malformed_fields), cmocka_unit_test(test_response_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
