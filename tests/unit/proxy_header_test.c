/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proxy_header_split.h"

#define INIT(text) { (const uint8_t *)(text), sizeof(text) - 1 }
#define BYTES(text) ((struct span)INIT(text))

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x01\xbb"
#define V6                                                                                         \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"     \
	"\x9c\x40\x01\xbb"

/* ---- what HAProxy 2.6 sends: send-proxy-v2 with proxy-v2-options crc32c and more ---- */

#define HAPROXY_CRC32C \
	"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x20\x7f\x00" \
	"\x00\x01\x7f\x00\x00\x01\x8f\x40\x03\xe9\x03\x00\x04\x53\x15\x0f\xfb\x05" \
	"\x00\x0a\x69\x64\x2d\x32\x31\x35\x38\x34\x2d\x30"

#define HAPROXY_TLS \
	"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x71\x7f\x00" \
	"\x00\x01\x7f\x00\x00\x01\xd4\x88\x03\xea\x03\x00\x04\x8d\x20\x58\x9f\x01" \
	"\x00\x08\x68\x74\x74\x70\x2f\x31\x2e\x31\x02\x00\x0e\x77\x77\x77\x2e\x66" \
	"\x72\x6f\x6e\x74\x2e\x74\x65\x73\x74\x05\x00\x0a\x69\x64\x2d\x32\x31\x35" \
	"\x38\x34\x2d\x31\x20\x00\x32\x07\x00\x00\x00\x00\x21\x00\x07\x54\x4c\x53" \
	"\x76\x31\x2e\x33\x22\x00\x07\x73\x6f\x6d\x65\x6f\x6e\x65\x23\x00\x16\x54" \
	"\x4c\x53\x5f\x41\x45\x53\x5f\x32\x35\x36\x5f\x47\x43\x4d\x5f\x53\x48\x41" \
	"\x33\x38\x34"

#define HAPROXY_IPV6 \
	"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x21\x00\x2e\x00\x00" \
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00" \
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x93\x6c\x03\xeb\x03\x00" \
	"\x04\x2e\x1b\x23\xf5\x05\x00\x00"

static enum codec_result check(struct span in, struct proxy_header *ret)
{
	return split_check(&proxy_header_split, in, 1, ret);
}

static void expect_addr(const struct addr *a, const char *text)
{
	char got[ADDR_TEXT_MAX];

	assert_string_equal(addr_format(a, got), text);
}

static void expect_text(struct span s, const char *text)
{
	assert_true(span_eq_str(s, text));
}

static void test_v1(void **state)
{
	struct proxy_header h;

	assert_int_equal(check(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\nGET /"), &h),
			 CODEC_DONE);
	assert_true(h.version == 1 && !h.local && h.bytes == 45);
	expect_addr(&h.source, "192.0.2.1:40000");
	expect_addr(&h.destination, "198.51.100.2:443");
	assert_int_equal(check(BYTES("PROXY TCP6 2001:db8::1 2001:DB8::2 65535 0\r\n"), &h),
			 CODEC_DONE);
	expect_addr(&h.source, "[2001:db8::1]:65535");
	expect_addr(&h.destination, "[2001:db8::2]:0");
}

/* The specification's longest line, 107 bytes, is of this form. */
static void test_v1_unknown(void **state)
{
	static const struct span lines[] = {
		INIT("PROXY UNKNOWN\r\n"),
		INIT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
		INIT("PROXY UNKNOWN what ever it says\r\n"),
	};
	struct proxy_header h;

	assert_int_equal(lines[1].len, PROXY_V1_MAX_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		assert_int_equal(check(lines[i], &h), CODEC_DONE);
		assert_true(h.bytes == lines[i].len && !h.source.family && !h.destination.family);
	}
}

static void expect_all(const struct span *cases, size_t n, enum codec_result expect)
{
	struct proxy_header h;

	for (size_t i = 0; i < n; i++) {
		enum codec_result r = check(cases[i], &h);

		if (r != expect)
			fail_msg("case %zu: %d instead of %d", i, (int)r, (int)expect);
	}
}

#define REST " 198.51.100.2 40000 443\r\n"

static void test_v1_leading_zeros(void **state)
{
	static const struct span cases[] = {
		INIT("PROXY TCP4 192.0.02.1" REST),
		INIT("PROXY TCP4 00.0.2.1" REST),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 040000 443\r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 40000 00\r\n"),
	};

	expect_all(cases, ARRAY_SIZE(cases), CODEC_BAD);
}

static void test_v1_addresses_that_are_none(void **state)
{
	static const struct span cases[] = {
		INIT("PROXY TCP4 192.0.2" REST),     INIT("PROXY TCP4 192.0.2.256" REST),
		INIT("PROXY TCP4 3221225985" REST),  INIT("PROXY TCP4 0x7f.0.0.1" REST),
		INIT("PROXY TCP4 192.0.2.1.1" REST), INIT("PROXY TCP4 192.0.2." REST),
		INIT("PROXY TCP4 2001:db8::1" REST), INIT("PROXY TCP4 name" REST),
		INIT("PROXY TCP6 192.0.2.1 2001:db8::1 1 2\r\n"),
		INIT("PROXY TCP6 fe80::1%lo 2001:db8::1 1 2\r\n"),
		INIT("PROXY TCP6 2001:db8::1:::2 2001:db8::1 1 2\r\n"),
		INIT("PROXY TCP6 1:2:3:4:5:6:7:8:9 2001:db8::1 1 2\r\n"),
	};

	expect_all(cases, ARRAY_SIZE(cases), CODEC_BAD);
}

static void test_v1_port_65536(void **state)
{
	static const struct span cases[] = {
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 40000 65536\r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 40000 100443\r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 1x 443\r\n"),
	};

	expect_all(cases, ARRAY_SIZE(cases), CODEC_BAD);
}

static void test_v1_form(void **state)
{
	static const struct span cases[] = {
		INIT("PROXY  TCP4 192.0.2.1" REST),
		INIT("PROXY TCP4  192.0.2.1" REST),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443 \r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443 5\r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 40000\r\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\n"),
		INIT("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\r\n"),
		INIT("PROXY TCP4 192.0.2.1\t198.51.100.2 40000 443\r\n"),
		INIT("PROXY UDP4 192.0.2.1" REST),
		INIT("PROXY tcp4 192.0.2.1" REST),
		INIT("PROXY UNKNOWN\0\r\n"),
		INIT("PROXY \r\n"),
		INIT("PROXY \n"),
	};

	expect_all(cases, ARRAY_SIZE(cases), CODEC_BAD);
}

static void test_v1_too_long(void **state)
{
	char line[200] = "PROXY UNKNOWN ";
	struct proxy_header h;

	memset(line + 14, 'x', sizeof(line) - 14);
	assert_int_equal(check(span_of(line, PROXY_V1_MAX_BYTES - 1), &h), CODEC_MORE);
	assert_int_equal(check(span_of(line, PROXY_V1_MAX_BYTES), &h), CODEC_BAD);
	memcpy(line + PROXY_V1_MAX_BYTES - 1, "\r\n", 2); /* one byte more than may be */
	assert_int_equal(check(span_of(line, PROXY_V1_MAX_BYTES + 1), &h), CODEC_BAD);
}

static void test_others(void **state)
{
	static const struct span cases[] = {
		INIT("GET / HTTP/1.1\r\n"), INIT("\x16\x03\x01"), INIT("PROXYTCP4 "),
		INIT("\r\n\r\n\0\r\nQUIX\n"), INIT("proxy TCP4"), INIT("PRI * HTTP/2.0\r\n"),
	};

	expect_all(cases, ARRAY_SIZE(cases), CODEC_OTHER);
}

static void test_v2(void **state)
{
	struct proxy_header h;

	assert_int_equal(check(BYTES(SIG "\x21\x11\0\x0c" V4 "data"), &h), CODEC_DONE);
	assert_true(h.version == 2 && !h.local && !h.datagram && h.bytes == 28);
	expect_addr(&h.source, "192.0.2.1:40000");
	expect_addr(&h.destination, "198.51.100.2:443");
	assert_int_equal(check(BYTES(SIG "\x21\x22\0\x24" V6), &h), CODEC_DONE);
	assert_true(h.datagram);
	expect_addr(&h.source, "[2001:db8::1]:40000");
	expect_addr(&h.destination, "[2001:db8::2]:443");
}

/* LOCAL, whatever addresses stand there; UNSPEC; UNIX: nobody is named. */
static void test_v2_no_addresses(void **state)
{
	uint8_t unix_socket[16 + 216] = SIG "\x21\x31\0\xd8";
	struct proxy_header h;

	assert_int_equal(check(BYTES(SIG "\x20\0\0\0"), &h), CODEC_DONE);
	assert_true(h.local && h.bytes == 16 && !h.source.family);
	assert_int_equal(check(BYTES(SIG "\x20\x11\0\x0c" V4), &h), CODEC_DONE);
	assert_true(h.local && h.bytes == 28 && !h.source.family);
	assert_int_equal(check(BYTES(SIG "\x20\xff\0\x02xy"), &h), CODEC_DONE);
	assert_true(h.local && h.bytes == 18 && !h.source.family);
	assert_int_equal(check(BYTES(SIG "\x21\0\0\x03\xea\0\0"), &h), CODEC_DONE);
	assert_true(!h.local && !h.source.family);
	assert_int_equal(check(span_of(unix_socket, sizeof(unix_socket)), &h), CODEC_DONE);
	assert_true(h.bytes == sizeof(unix_socket) && !h.source.family && !h.destination.family);
}

static void test_v2_unknown_command(void **state)
{
	static const struct span cases[] = {
		INIT(SIG "\x22\x11\0\x0c" V4),
		INIT(SIG "\x2f\x11\0\x0c" V4),
		INIT(SIG "\x11\x11\0\x0c" V4), /* version 1 has no such form */
		INIT(SIG "\x31"),
	};

	expect_all(cases, ARRAY_SIZE(cases), CODEC_BAD);
}

static void test_v2_unknown_family(void **state)
{
	static const struct span cases[] = {
		INIT(SIG "\x21\x41\0\x0c" V4),
		INIT(SIG "\x21\xf1\0\x0c" V4),
		INIT(SIG "\x21\x13\0\x0c" V4), /* nor such a transport */
	};

	expect_all(cases, ARRAY_SIZE(cases), CODEC_BAD);
}

static void test_v2_lengths(void **state)
{
	static const struct span bad[] = {
		INIT(SIG "\x21\x11\0\x0b" V4),
		INIT(SIG "\x21\x21\0\x0c" V4),
		INIT(SIG "\x21\x11\0\0"),
		INIT(SIG "\x21\x11\0\x0d" V4 "\xea"),
		INIT(SIG "\x21\x11\0\x0f" V4 "\xea\0\x01"),
		INIT(SIG "\x21\x11\0\x10" V4 "\x03\0\x01\0"),
		INIT(SIG "\x21\x11\0\x12" V4 "\x20\0\x03\x01\0\0"),
		INIT(SIG "\x21\x11\0\x17" V4 "\x20\0\x08\x01\0\0\0\0\x21\0\x01"),
	};
	static const struct span more[] = {
		INIT(""), INIT("P"), INIT("PROXY"), INIT("PROXY TCP4"), INIT("\r"), INIT(SIG),
		INIT(SIG "\x21\x11\0\x0c"), INIT(SIG "\x21\x11\xff\xff" V4),
	};

	expect_all(bad, ARRAY_SIZE(bad), CODEC_BAD);
	expect_all(more, ARRAY_SIZE(more), CODEC_MORE);
}

static void test_v2_tlvs(void **state)
{
	struct proxy_header h;

	assert_int_equal(check(BYTES(SIG "\x21\x11\0\x30" V4 "\x01\0\x02h2\x02\0\x08www.test"
					 "\x05\0\x02\x01\xff\x30\0\x04"
					 "blue\xea\0\x01x\x04\0\x01\0"),
			       &h),
			 CODEC_DONE);
	expect_text(h.alpn, "h2");
	expect_text(h.authority, "www.test");
	expect_text(h.netns, "blue");
	assert_true(h.unique_id.len == 2 && !memcmp(h.unique_id.data, "\x01\xff", 2));
	assert_false(h.ssl);
}

static void test_v2_unique_id_too_long(void **state)
{
	uint8_t in[16 + 12 + 3 + 129] = SIG "\x21\x11\0\x90" V4 "\x05\0\x81";
	struct proxy_header h;

	assert_int_equal(check(span_of(in, sizeof(in)), &h), CODEC_BAD);
	in[15]--, in[30]--;
	assert_int_equal(check(span_of(in, sizeof(in) - 1), &h), CODEC_DONE);
	assert_int_equal(h.unique_id.len, PROXY_UNIQUE_ID_MAX_BYTES);
}

static void test_haproxy(void **state)
{
	struct proxy_header h;

	assert_int_equal(check(BYTES(HAPROXY_CRC32C), &h), CODEC_DONE);
	expect_addr(&h.source, "127.0.0.1:36672");
	expect_addr(&h.destination, "127.0.0.1:1001");
	assert_int_equal(h.unique_id.len, 10);
	assert_int_equal(check(BYTES(HAPROXY_IPV6), &h), CODEC_DONE);
	expect_addr(&h.destination, "[::1]:1003");
	assert_int_equal(check(BYTES(HAPROXY_TLS), &h), CODEC_DONE);
	expect_text(h.alpn, "http/1.1");
	expect_text(h.authority, "www.front.test");
	expect_text(h.ssl_version, "TLSv1.3");
	expect_text(h.ssl_cn, "someone");
	expect_text(h.ssl_cipher, "TLS_AES_256_GCM_SHA384");
	assert_true(h.ssl && h.ssl_verified && h.ssl_client == 7);
}

/* Each byte of what the sum is over, and the sum itself. */
static void test_v2_crc32c_is_checked(void **state)
{
	uint8_t in[] = HAPROXY_CRC32C;
	struct proxy_header h;

	for (size_t i = 16; i < sizeof(in) - 1; i++) {
		in[i] ^= 0x40;
		if (i != 28) /* the sum's own type: it is none any more */
			assert_int_not_equal(proxy_header_parse(span_of(in, sizeof(in) - 1), &h),
					     CODEC_DONE);
		in[i] ^= 0x40;
	}
	assert_int_equal(proxy_header_parse(span_of(in, sizeof(in) - 1), &h), CODEC_DONE);
}

static void expect_written(uint8_t version, const char *source, const char *destination,
			   struct span expect)
{
	uint8_t out[PROXY_HEADER_WRITE_CAP];
	struct addr from = { 0 }, to = { 0 };

	if (source)
		assert_int_equal(addr_parse(source, &from), 0);
	assert_int_equal(addr_parse(destination, &to), 0);
	assert_int_equal(proxy_header_write(out, version, &from, &to, false, span_of(NULL, 0)),
			 expect.len);
	assert_memory_equal(out, expect.data, expect.len);
}

static void test_write(void **state)
{
	expect_written(1, "192.0.2.1:40000", "198.51.100.2:443",
		       BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n"));
	expect_written(1, "[2001:db8::1]:1", "198.51.100.2:443",
		       BYTES("PROXY TCP6 2001:db8::1 ::ffff:198.51.100.2 1 443\r\n"));
	expect_written(1, NULL, "198.51.100.2:443", BYTES("PROXY UNKNOWN\r\n"));
	expect_written(2, "192.0.2.1:40000", "198.51.100.2:443", BYTES(SIG "\x21\x11\0\x0c" V4));
	expect_written(2, "[2001:db8::1]:40000", "[2001:db8::2]:443",
		       BYTES(SIG "\x21\x21\0\x24" V6));
	expect_written(2, NULL, "198.51.100.2:443", BYTES(SIG "\x20\0\0\0"));
}

static void test_write_authority(void **state)
{
	uint8_t out[PROXY_HEADER_WRITE_CAP], name[256];
	struct proxy_header h;
	struct addr a;
	size_t n;

	memset(name, 'n', sizeof(name));
	assert_int_equal(addr_parse("[2001:db8::1]:1", &a), 0);
	n = proxy_header_write(out, 2, &a, &a, true, span_of(name, 255));
	assert_int_equal(check(span_of(out, n), &h), CODEC_DONE);
	assert_true(h.datagram && h.authority.len == 255 && h.bytes == n);
	n = proxy_header_write(out, 2, &a, &a, false, span_of(name, 256));
	assert_int_equal(check(span_of(out, n), &h), CODEC_DONE);
	assert_int_equal(h.authority.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_v1_unknown),
		cmocka_unit_test(test_v1_leading_zeros),
		cmocka_unit_test(test_v1_addresses_that_are_none),
		cmocka_unit_test(test_v1_port_65536),
		cmocka_unit_test(test_v1_form),
		cmocka_unit_test(test_v1_too_long),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_v2_no_addresses),
		cmocka_unit_test(test_v2_unknown_command),
		cmocka_unit_test(test_v2_unknown_family),
		cmocka_unit_test(test_v2_lengths),
		cmocka_unit_test(test_v2_tlvs),
		cmocka_unit_test(test_v2_unique_id_too_long),
		cmocka_unit_test(test_haproxy),
		cmocka_unit_test(test_v2_crc32c_is_checked),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_authority),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
