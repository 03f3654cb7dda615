/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns_frames_split.h"

/* "a.t" A, and its answer. */
#define QUERY 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 1, 't', 0, 0, 1, 0, 1
#define ANSWER                                                                                     \
	0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, 'a', 1, 't', 0, 0, 1, 0, 1, 0xc0, 0x0c, 0, 1, \
		0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1

static const uint8_t query[] = { QUERY }, answer[] = { ANSWER };

static void expect(struct span in, size_t wanted_bytes, enum codec_result last,
		   const struct span *messages, size_t n)
{
	struct dns_frames_heard h = dns_frames_split_check(in, 1, wanted_bytes);
	struct span rest = buf_span(&h.messages);
	uint16_t length;

	assert_int_equal(h.last, last);
	for (size_t i = 0; i < n; i++) {
		assert_true(rest.len >= 2);
		memcpy(&length, rest.data, 2);
		rest = span_skip(rest, 2);
		assert_true(span_eq(span_head(rest, length), messages[i]));
		rest = span_skip(rest, length);
	}
	assert_int_equal(rest.len, 0);
	buf_done(&h.messages);
}

static void test_several(void **state)
{
	const uint8_t in[] = { 0, 21, QUERY, 0, 37, ANSWER, 0, 21, QUERY, 0 };
	const struct span messages[] = { span_of(query, sizeof(query)),
					 span_of(answer, sizeof(answer)),
					 span_of(query, sizeof(query)) };

	expect(span_of(in, sizeof(in)), UINT16_MAX, CODEC_MORE, messages, 3);
	expect(span_of(in, sizeof(in) - 2), UINT16_MAX, CODEC_MORE, messages, 2);
}

/* Only the first bytes are wanted. */
static void test_heads(void **state)
{
	const uint8_t in[] = { 0, 37, ANSWER, 0, 21, QUERY };
	const struct span messages[] = { span_of(answer, 20), span_of(query, 20) };

	expect(span_of(in, sizeof(in)), 20, CODEC_MORE, messages, 2);
}

static void test_other_protocols(void **state)
{
	static const char hello[] = "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 0123456789";

	expect(span_str("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), UINT16_MAX, CODEC_BAD, NULL, 0);
	expect(span_str("SSH-2.0-OpenSSH_9.2p1 Debian\r\n"), UINT16_MAX, CODEC_BAD, NULL, 0);
	expect(span_str("220 mail.test ESMTP\r\n"), UINT16_MAX, CODEC_BAD, NULL, 0);
	expect(span_of(hello, sizeof(hello)), UINT16_MAX, CODEC_BAD, NULL, 0);
}

/* No message is that short, or so much shorter than what is in it; it may follow a good one. */
static void test_malformed(void **state)
{
	const uint8_t shorter[] = { 0, 21, QUERY, 0, 11, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	const uint8_t less[] = { 0, 21, QUERY, 0, 22, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0 };
	const struct span messages[] = { span_of(query, sizeof(query)) };

	expect(span_of(shorter, sizeof(shorter)), UINT16_MAX, CODEC_BAD, messages, 1);
	expect(span_of(less, sizeof(less)), UINT16_MAX, CODEC_BAD, messages, 1);
	expect(span_of("\0\0\0", 3), UINT16_MAX, CODEC_BAD, NULL, 0);
}

/* The longest, in portions; then nothing is owned. */
static void test_longest(void **state)
{
	static uint8_t in[2 + UINT16_MAX] = { 0xff, 0xff, 0, 1, 0x81, 0x80, 0, 1 };
	struct dns_frames_heard h = { .last = CODEC_MORE };
	struct dns_frames f = { 0 };
	uint16_t length;

	for (size_t at = 0; at < sizeof(in); at += 1448)
		dns_frames_hear(&f, span_head(span_of(in + at, sizeof(in) - at), 1448), UINT16_MAX,
				&h);
	assert_null(f.kept.data);
	assert_int_equal(h.messages.len, 2 + UINT16_MAX);
	memcpy(&length, h.messages.data, 2);
	assert_int_equal(length, UINT16_MAX);
	assert_memory_equal(h.messages.data + 2, in + 2, UINT16_MAX);
	buf_done(&h.messages);
}

/* A message begun when only its header was wanted has a gap; it is given as far as it was kept. */
static void test_wanted_too_late(void **state)
{
	struct dns_frames f = { 0 };
	const uint8_t in[] = { 0, 37, ANSWER };
	struct span s = span_of(in, 20), message;

	assert_int_equal(dns_frames_next(&f, &s, 0, &message), CODEC_MORE);
	assert_int_equal(f.kept.len, DNS_HEADER_BYTES);
	s = span_of(in + 20, sizeof(in) - 20);
	assert_int_equal(dns_frames_next(&f, &s, UINT16_MAX, &message), CODEC_DONE);
	assert_int_equal(message.len, DNS_HEADER_BYTES);
	assert_int_equal(dns_frames_next(&f, &s, UINT16_MAX, &message), CODEC_MORE);
	assert_null(f.kept.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_several),		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_other_protocols), cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_longest),		cmocka_unit_test(test_wanted_too_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
