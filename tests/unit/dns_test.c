/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "dns_split.h"

#define QUERY "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
#define ANSWER "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
#define BYTES(text) text, sizeof(text) - 1

static enum codec_result check(const char *data, size_t len, struct dns_message *ret)
{
	return split_check(&dns_split, span_of(data, len), 1, ret);
}

static void test_query(void **state)
{
	struct dns_message m;

	assert_int_equal(check(BYTES(QUERY "\x03WwW\x07"
					   "example\x03org\x00\x00\x1c\x00\x01trailing"),
			       &m),
			 CODEC_DONE);
	assert_int_equal(m.id, 0x1234);
	assert_false(m.response);
	assert_false(m.truncated);
	assert_int_equal(m.opcode, 0);
	assert_int_equal(m.n_questions, 1);
	assert_string_equal(m.name, "www.example.org");
	assert_int_equal(m.type, 28);
	assert_int_equal(m.class, 1);
	assert_int_equal(m.question_end, 12 + 17 + 4);
}

static void test_names(void **state)
{
	static const struct {
		const char *data;
		size_t len;
		const char *name;
	} cases[] = {
		{ BYTES(QUERY "\x00\x00\x02\x00\x01"), "." },
		{ BYTES(QUERY "\x03"
			      "a.b\x01\\\x00\x00\x01\x00\x01"),
		  "a\\.b.\\\\" },
		{ BYTES(QUERY "\x04\x00 \xffz\x00\x00\x01\x00\x01"), "\\000\\032\\255z" },
	};
	struct dns_message m;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(check(cases[i].data, cases[i].len, &m), CODEC_DONE);
		assert_string_equal(m.name, cases[i].name);
	}
}

static void test_no_question(void **state)
{
	struct dns_message m;

	assert_int_equal(check(BYTES("\x00\x01\x82\x05\x00\x00\x00\x00\x00\x00\x00\x00"), &m),
			 CODEC_DONE);
	assert_true(m.response);
	assert_true(m.truncated);
	assert_int_equal(m.rcode, 5);
	assert_string_equal(m.name, "");
	assert_int_equal(m.question_end, 12);
}

static void test_cut_off(void **state)
{
	static const char whole[] = QUERY "\x01"
					  "a\x00\x00\x01\x00\x01";
	struct dns_message m;

	for (size_t n = 0; n < sizeof(whole) - 1; n++)
		assert_int_equal(dns_parse(span_of(whole, n), &m), CODEC_MORE);
	assert_int_equal(check(BYTES(whole), &m), CODEC_DONE);
}

static void test_bad(void **state)
{
	static const struct {
		const char *data;
		size_t len;
	} cases[] = {
		{ BYTES(QUERY "\x40") }, /* reserved kinds of label */
		{ BYTES(QUERY "\x80") },
		{ BYTES(QUERY "\xc0\x0c\x00\x01\x00\x01") }, /* to itself */
		{ BYTES(QUERY "\xc0\x00\x00\x01\x00\x01") }, /* into the header */
		{ BYTES(QUERY "\xc0\x20\x00\x01\x00\x01") }, /* forwards */
		{ BYTES(QUERY "\x01"
			      "a\xc0\x0c\x00\x01\x00\x01") }, /* a loop with a label in it */
		{ BYTES(QUERY "\x01"
			      "a\xc0\x0e\x00\x01\x00\x01") },
	};
	struct dns_message m;
	char text[12 + 5 * 64];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(check(cases[i].data, cases[i].len, &m), CODEC_BAD);
	/* Four labels of 63 are one byte too many with the root: 257. */
	memset(text, 'a', sizeof(text));
	memcpy(text, QUERY, 12);
	for (size_t i = 0; i < 5; i++)
		text[12 + 64 * i] = 63;
	assert_int_equal(check(text, sizeof(text), &m), CODEC_BAD);
	text[12 + 64 * 3] = 61;
	memset(text + 12 + 64 * 3 + 62, 0, 5);
	assert_int_equal(check(text, sizeof(text), &m), CODEC_DONE);
	assert_int_equal(strlen(m.name), 253);
	/* The longest text there is. */
	for (size_t i = 0; i < 12 + 64 * 3 + 62; i++)
		if (text[i] == 'a')
			text[i] = '\xff';
	assert_int_equal(check(text, sizeof(text), &m), CODEC_DONE);
	assert_int_equal(strlen(m.name), 4 * 250 + 3);
}

static void test_compressed(void **state)
{
	static const char text[] = ANSWER "\x01"
					  "a\x03net\x00\x00\x01\x00\x01" /* 12: a.net */
					  "\xc0\x0c"			 /* 23 */
					  "\x03www\xc0\x0e"		 /* 25: www.net */
					  "\x01x\xc0\x19"		 /* 31: x.www.net */
					  "\x01x\xc0\x23";		 /* 35: to itself */
	static const struct {
		size_t at, end;
		const char *name;
	} cases[] = {
		{ 12, 19, "a.net" },
		{ 23, 25, "a.net" },
		{ 25, 31, "www.net" },
		{ 31, 35, "x.www.net" },
	};
	struct span in = span_of(text, sizeof(text) - 1);
	char name[DNS_NAME_CAP];
	size_t at;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		at = cases[i].at;
		assert_int_equal(dns_name_parse(in, &at, name), CODEC_DONE);
		assert_string_equal(name, cases[i].name);
		assert_int_equal(at, cases[i].end);
	}
	at = 35;
	assert_int_equal(dns_name_parse(in, &at, name), CODEC_BAD);
}

static void test_answers(void **state)
{
	static const char query[] = QUERY "\x01"
					  "a\x00\x00\x01\x00\x01";
	static const struct {
		const char *data;
		size_t len;
		bool expect;
	} cases[] = {
		{ BYTES(ANSWER "\x01"
			       "A\x00\x00\x01\x00\x01"),
		  true },
		{ BYTES(QUERY "\x01"
			      "a\x00\x00\x01\x00\x01"),
		  false },
		{ BYTES(ANSWER "\x01"
			       "b\x00\x00\x01\x00\x01"),
		  false },
		{ BYTES(ANSWER "\x01"
			       "a\x00\x00\x1c\x00\x01"),
		  false },
		{ BYTES(ANSWER "\x01"
			       "a\x00\x00\x01\x00\x03"),
		  false },
		{ BYTES("\x12\x35\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01"
			"a\x00\x00\x01\x00\x01"),
		  false },
		{ BYTES("\x12\x34\x81\x81\x00\x00\x00\x00\x00\x00\x00\x00"), false },
	};
	struct dns_message q, a;

	assert_int_equal(dns_parse(span_of(query, sizeof(query) - 1), &q), CODEC_DONE);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(check(cases[i].data, cases[i].len, &a), CODEC_DONE);
		assert_int_equal(dns_answers(&a, &q), cases[i].expect);
	}
}

#define NAME "\x03www\x01t\x00"
#define OWNER "\xc0\x0c"
#define HEAD(n) "\x12\x34\x81\x80\x00\x01\x00" n "\x00\x00\x00\x00" NAME "\x00\x01\x00\x01"
#define RR(type, ttl, len) "\x00" type "\x00\x01\x00\x00\x00" ttl "\x00" len

static size_t addresses(const char *data, size_t len, struct addr *ret, uint32_t *ttl_s)
{
	struct dns_message m;
	size_t n;

	assert_int_equal(dns_parse(span_of(data, len), &m), CODEC_DONE);
	n = dns_addresses(span_of(data, len), &m, ret, ttl_s);
	for (size_t cut = m.question_end; cut < len; cut++) { /* never more, and no byte beyond */
		struct addr fewer[DNS_ADDRESSES_MAX];
		uint32_t ignored_s;
		uint8_t *copy = malloc(cut);

		memcpy(copy, data, cut);
		assert_true(dns_addresses(span_of(copy, cut), &m, fewer, &ignored_s) <= n);
		free(copy);
	}
	return n;
}

static void test_addresses(void **state)
{
	struct addr a[DNS_ADDRESSES_MAX];
	uint32_t ttl_s;

	assert_int_equal(addresses(BYTES(HEAD("\x02") OWNER RR("\x01", "\x3c",
							       "\x04") "\x01\x02\x03\x04" OWNER
						 RR("\x1c", "\x1e",
						    "\x10") "\xfd\x00\x00\x00\x00\x00\x00\x00"
							    "\x00\x00\x00\x00\x00\x00\x00\x01"),
				   a, &ttl_s),
			 2);
	assert_int_equal(ttl_s, 30);
	assert_int_equal(a[0].family, 4);
	assert_memory_equal(a[0].ip, "\x01\x02\x03\x04", 4);
	assert_int_equal(a[1].family, 6);
	/* an alias, behind what it leads to; somebody else's address */
	assert_int_equal(
		addresses(BYTES(HEAD(
				  "\x03") "\x01"
					  "b\x00" RR("\x01", "\x3c", "\x04") "\x01\x02\x03\x04" OWNER
						  RR("\x05", "\x05",
						     "\x03") "\x01"
							     "b\x00"
							     "\x01"
							     "c\x00" RR("\x01", "\x01",
									"\x04") "\x09\x09\x09\x09"),
			  a, &ttl_s),
		1);
	assert_int_equal(ttl_s, 5);
	assert_memory_equal(a[0].ip, "\x01\x02\x03\x04", 4);
	/* an alias of itself; a wrong length; fewer records than are claimed */
	assert_int_equal(addresses(BYTES(HEAD("\x01") OWNER RR("\x05", "\x05", "\x02") OWNER), a,
				   &ttl_s),
			 0);
	assert_int_equal(
		addresses(BYTES(HEAD("\x01") OWNER RR("\x01", "\x3c", "\x03") "\x01\x02\x03"), a,
			  &ttl_s),
		0);
	assert_int_equal(
		addresses(BYTES(HEAD("\x09") OWNER RR("\x01", "\x3c", "\x04") "\x01\x02\x03\x04"),
			  a, &ttl_s),
		1);
}

static void test_empty_answer(void **state)
{
	static const char query[] =
		"\x12\x34\x01\x10\x00\x01\x00\x00\x00\x00\x00\x01" NAME "\x00\x01\x00\x01"
		"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00"; /* DO */
	struct span in = span_of(query, sizeof(query) - 1);
	uint8_t answer[DNS_EMPTY_CAP];
	struct dns_message q, m;
	size_t n;

	assert_int_equal(dns_parse(in, &q), CODEC_DONE);
	assert_int_equal(dns_edns(in, &q).takes_bytes, 4096);
	assert_int_equal(dns_edns(span_head(in, in.len - 1), &q).takes_bytes, 0);
	n = dns_empty_answer(in, q.question_end, DNS_REFUSED, true, dns_edns(in, &q), answer);
	assert_int_equal(n, q.question_end + 11);
	assert_int_equal(dns_parse(span_of(answer, n), &m), CODEC_DONE);
	assert_true(dns_answers(&m, &q));
	assert_int_equal(m.rcode, DNS_REFUSED);
	assert_true(m.truncated);
	assert_int_equal(m.n_additional, 1);
	assert_int_equal(dns_edns(span_of(answer, n), &m).takes_bytes, 1232);
	assert_true(dns_edns(span_of(answer, n), &m).dnssec_ok);
	assert_int_equal(answer[2] & 1, 1); /* RD and CD as in the query */
	assert_int_equal(answer[3] & 0x10, 0x10);
	n = dns_empty_answer(in, DNS_HEADER_BYTES, DNS_FORMERR, false, (struct dns_edns){ 0 },
			     answer);
	assert_int_equal(n, DNS_HEADER_BYTES);
	assert_int_equal(dns_parse(span_of(answer, n), &m), CODEC_DONE);
	assert_int_equal(m.n_questions, 0);
}

static void test_records_fault(void **state)
{
#define QUERY_HEAD(additional)                                                                     \
	"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00" additional NAME "\x00\x01\x00\x01"
#define OPT "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"
	static const struct {
		const char *bytes;
		size_t len;
		bool fault;
	} cases[] = {
#define CASE(text, fault) { text, sizeof(text) - 1, fault }
		CASE(QUERY_HEAD("\x00\x00"), false),
		CASE(QUERY_HEAD("\x00\x00") "behind", false),
		CASE(QUERY_HEAD("\x00\x01") OPT, false),
		CASE(QUERY_HEAD("\x00\x01"), true),
		CASE(QUERY_HEAD("\x00\x02") OPT, true),
		CASE(QUERY_HEAD("\x00\x02") OPT OPT, true),
		CASE(QUERY_HEAD("\xff\xff") OPT, true),
	};
	struct dns_message m;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct span in = span_of(cases[i].bytes, cases[i].len);

		assert_int_equal(dns_parse(in, &m), CODEC_DONE);
		assert_int_equal(dns_records_fault(in, &m), cases[i].fault);
	}
}

static void test_words(void **state)
{
	assert_string_equal(dns_type_name(DNS_TYPE_AAAA), "AAAA");
	assert_null(dns_type_name(65280));
	assert_string_equal(dns_rcode_name(DNS_NXDOMAIN), "NXDOMAIN");
	assert_null(dns_rcode_name(15));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_query),	     cmocka_unit_test(test_names),
		cmocka_unit_test(test_no_question),  cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_bad),	     cmocka_unit_test(test_compressed),
		cmocka_unit_test(test_answers),	     cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_empty_answer), cmocka_unit_test(test_records_fault),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
