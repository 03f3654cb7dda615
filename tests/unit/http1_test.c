/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http1_split.h"

static enum codec_result check(const char *text, struct http1_request *ret)
{
	return split_check(&http1_split, span_str(text), 1, ret);
}

static void assert_span(struct span s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.data ? (const char *)s.data : "", text, s.len);
}

static void test_request(void **state)
{
	static const char text[] = "GET /a?b=c HTTP/1.1\r\n"
				   "Host: WWW.Example.org:8080\r\n"
				   "user-agent: \t curl/7.88 \t\r\n"
				   "X-Empty:\r\n"
				   "X-Bytes: b\xc3\xbc, \"q\"\r\n"
				   "\r\n";
	static const char body[] = "\x00 body";
	char all[sizeof(text) + sizeof(body)];
	size_t len = sizeof(text) - 1;
	struct http1_request q;

	memcpy(all, text, len);
	memcpy(all + len, body, sizeof(body));
	assert_int_equal(split_check(&http1_split, span_of(all, len + sizeof(body)), 1, &q),
			 CODEC_DONE);
	assert_span(q.method, "GET");
	assert_span(q.target, "/a?b=c");
	assert_int_equal(q.form, HTTP1_FORM_ORIGIN);
	assert_int_equal(q.minor, 1);
	assert_string_equal(q.host, "www.example.org");
	assert_false(q.host_is_ip);
	assert_false(q.host_missing);
	assert_int_equal(q.port, 8080);
	assert_span(q.user_agent, "curl/7.88");
	assert_int_equal(q.head_bytes, len);
	assert_int_equal(q.n_fields, 4);
	assert_span(q.fields[2].name, "X-Empty");
	assert_span(q.fields[2].value, "");
	assert_span(q.fields[3].value, "b\xc3\xbc, \"q\"");
}

static void test_no_host(void **state)
{
	struct http1_request q;

	assert_int_equal(check("GET / HTTP/1.1\r\n\r\n", &q), CODEC_DONE);
	assert_true(q.host_missing);
	assert_string_equal(q.host, "");
	assert_int_equal(check("GET / HTTP/1.0\r\n\r\n", &q), CODEC_DONE);
	assert_false(q.host_missing);
	assert_int_equal(check("GET / HTTP/1.1\r\nHost:\r\n\r\n", &q), CODEC_DONE);
	assert_false(q.host_missing);
	assert_string_equal(q.host, "");
	assert_int_equal(check("\r\n\r\nGET / HTTP/1.0\r\n\r\n", &q), CODEC_DONE);
	assert_int_equal(q.head_bytes, 22);
	assert_span(q.method, "GET");
}

static void test_forms(void **state)
{
	static const struct {
		const char *line, *host_field;
		enum http1_form form;
		const char *host;
		uint16_t port;
		bool is_ip;
	} cases[] = {
		{ "GET http://A.example/x", "b.example", HTTP1_FORM_ABSOLUTE, "a.example", 0, 0 },
		{ "GET http://a.example:81", "b.example:82", HTTP1_FORM_ABSOLUTE, "a.example", 81,
		  0 },
		{ "GET HTTP://[2001:DB8::1]:81/", "x", HTTP1_FORM_ABSOLUTE, "2001:db8::1", 81, 1 },
		{ "GET http://a.example?x=http://c/", "x", HTTP1_FORM_ABSOLUTE, "a.example", 0, 0 },
		{ "GET /http://a.example/", "x", HTTP1_FORM_ORIGIN, "x", 0, 0 },
		{ "CONNECT a.example:443", "x:1", HTTP1_FORM_AUTHORITY, "a.example", 443, 0 },
		{ "CONNECT [::1]:443", "x", HTTP1_FORM_AUTHORITY, "::1", 443, 1 },
		{ "OPTIONS *", "a.example.", HTTP1_FORM_ASTERISK, "a.example", 0, 0 },
		{ "GET /", "192.0.2.1:8080", HTTP1_FORM_ORIGIN, "192.0.2.1", 8080, 1 },
		{ "GET /", "[::ffff:192.0.2.1]", HTTP1_FORM_ORIGIN, "::ffff:192.0.2.1", 0, 1 },
		{ "GET /", "a.example:", HTTP1_FORM_ORIGIN, "a.example", 0, 0 },
		{ "GET /\xc3\xa9", "a_b.example", HTTP1_FORM_ORIGIN, "a_b.example", 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http1_request q;
		char text[256];

		snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: %s\r\n\r\n", cases[i].line,
			 cases[i].host_field);
		assert_int_equal(check(text, &q), CODEC_DONE);
		assert_int_equal(q.form, cases[i].form);
		assert_string_equal(q.host, cases[i].host);
		assert_int_equal(q.port, cases[i].port);
		assert_int_equal(q.host_is_ip, cases[i].is_ip);
	}
}

static void test_other(void **state)
{
	static const char *const cases[] = {
		"SSH-2.0-OpenSSH_9.2p1\r\n",
		"\x16\x03\x01",
		"EHLO mail.example\r\n",
		"USER anonymous\r\n",
		"PING\r\n",
		"*1\r\n$4\r\nPING\r\n",
		"GET /\r\n",
		"GET /\n",
		"GET / \r\n",
		"GET  / HTTP/1.1\r\n",
		"GET\t/ HTTP/1.1\r\n",
		"GET / HTTQ",
		"OPTIONS rtsp://a.example/ RTSP/1.0\r\n",
		"OPTIONS sip:a@b.example SIP/2.0\r\n",
		" GET / HTTP/1.1\r\n",
		"\nGET / HTTP/1.1\r\n",
		"\rX",
		"\r\n\r\n\r\nGET",
		"(GET",
		"\x7f",
		"\xff",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n",
	};
	struct http1_request q;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(check(cases[i], &q), CODEC_OTHER);
	assert_int_equal(check("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.0\r\n\r\n", &q),
			 CODEC_DONE);
}

/* As soon as it can be said: the server that should speak first is waiting. */
static void test_other_early(void **state)
{
	struct http1_scan scan = { 0 };
	struct http1_request q;

	assert_int_equal(http1_request_parse(&scan, span_str("SSH-2.0-x\r"), 8192, &q),
			 CODEC_OTHER);
	assert_false(scan.h2);
}

static void test_h2(void **state)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	struct http1_scan scan = { 0 };
	struct http1_request q;

	assert_int_equal(check(preface, &q), CODEC_OTHER);
	assert_int_equal(http1_request_parse(&scan, span_str(preface), 8192, &q), CODEC_OTHER);
	assert_true(scan.h2);
	assert_int_equal(check("GET * HTTP/2.0\r\n", &q), CODEC_BAD);
}

/* RFC 9110 section 2.5: another minor version is read as ours, another major one is not. */
static void test_versions(void **state)
{
	static const char *const others[] = { "GET / HTTP/2", "GET / HTTP/0.9", "GET / HTTP/3.0" };
	struct http1_request q;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct http1_scan scan = { 0 };

		assert_int_equal(http1_request_parse(&scan, span_str(others[i]), 8192, &q),
				 CODEC_BAD);
		assert_true(scan.other_major);
	}
	assert_int_equal(check("GET / HTTP/1.9\r\n\r\n", &q), CODEC_DONE);
	assert_int_equal(q.minor, 1);
	assert_int_equal(check("GET / HTTP/1.0\r\n\r\n", &q), CODEC_DONE);
	assert_int_equal(q.minor, 0);
}

static void test_bad(void **state)
{
	static const char *const cases[] = {
		"GET / HTTP/1.x",
		"GET / HTTP/1.12",
		"GET / HTTP/9",
		"GET / HTTP/1.1\n",
		"GET / HTTP/1.1 ",
		"GET / HTTP/1.1\rX",
		"GET / HTTP/1.1\r\n\n",
		"GET / HTTP/1.1\r\n folded",
		"GET / HTTP/1.1\r\nA: b\r\n folded",
		"GET / HTTP/1.1\r\nA: b\r\n\tfolded",
		"GET / HTTP/1.1\r\nA : b",
		"GET / HTTP/1.1\r\n: b",
		"GET / HTTP/1.1\r\nA b",
		"GET / HTTP/1.1\r\nA\r\n",
		"GET / HTTP/1.1\r\nA: b\n",
		"GET / HTTP/1.1\r\nA: b\rc",
		"GET / HTTP/1.1\r\nA: \x01",
		"GET / HTTP/1.1\r\nA: \x7f",
		"GET / HTTP/1.1\r\n\xc3\xa9: b",
		"GET / HTTP/1.1\r\n\rX",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a:0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a:8o\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [192.0.2.1]\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: []\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [fe80::1%lo]\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n",
		"GET http:/// HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET :// HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a.example HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n",
	};
	struct http1_request q;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(check(cases[i], &q), CODEC_BAD);
	assert_int_equal(split_check(&http1_split, span_of("GET / HTTP/1.1\r\nA: \0", 20), 1, &q),
			 CODEC_BAD);
}

static void test_limits(void **state)
{
	static const char line[] = "GET / HTTP/1.0\r\n";
	struct http1_request q;
	char text[1024];
	size_t len = sizeof(line) - 1;

	/* The limit is on the whole head, to the byte. */
	snprintf(text, sizeof(text), "%sA: b\r\n\r\n", line);
	for (size_t max = 0; max <= strlen(text); max++) {
		for (size_t n = 0; n <= strlen(text); n++) {
			struct http1_scan scan = { 0 };
			enum codec_result r = http1_request_parse(&scan, span_of(text, n), max, &q);

			if (n == strlen(text) && max == n)
				assert_int_equal(r, CODEC_DONE);
			else
				assert_int_equal(r, n < max ? CODEC_MORE : CODEC_BAD);
		}
	}
	for (size_t n = HTTP1_MAX_FIELDS; n <= HTTP1_MAX_FIELDS + 1; n++) {
		memcpy(text, line, len);
		for (size_t i = 0; i < n; i++)
			memcpy(text + len + 5 * i, "A:b\r\n", 5);
		memcpy(text + len + 5 * n, "\r\n", 3);
		assert_int_equal(check(text, &q), n == HTTP1_MAX_FIELDS ? CODEC_DONE : CODEC_BAD);
	}
}

/* A megabyte of head is refused at the limit, and at once. */
static void test_endless(void **state)
{
	static char text[1 << 20];
	struct http1_request q;
	struct http1_scan scan = { 0 };

	memset(text, 'a', sizeof(text));
	memcpy(text, "GET /", 5);
	assert_int_equal(http1_request_parse(&scan, span_of(text, sizeof(text)), 16384, &q),
			 CODEC_BAD);
	assert_int_equal(scan.at, 16384);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),	    cmocka_unit_test(test_no_host),
		cmocka_unit_test(test_forms),	    cmocka_unit_test(test_other),
		cmocka_unit_test(test_other_early), cmocka_unit_test(test_h2),
		cmocka_unit_test(test_bad),	    cmocka_unit_test(test_limits),
		cmocka_unit_test(test_endless),	    cmocka_unit_test(test_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
