/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tls_hello_captured.h"
#include "tls_hello_split.h"

#define LIMIT (1 << 20)

static void put(struct buf *b, const void *data, size_t len)
{
	assert_int_equal(buf_append(b, span_of(data, len), LIMIT), 0);
}

static void put_u8(struct buf *b, unsigned v)
{
	put(b, &(uint8_t){ (uint8_t)v }, 1);
}

static void put_u16(struct buf *b, unsigned v)
{
	put_u8(b, v >> 8);
	put_u8(b, v & 255);
}

static void put_ext(struct buf *b, unsigned type, const void *data, size_t len)
{
	put_u16(b, type);
	put_u16(b, (unsigned)len);
	put(b, data, len);
}

static void put_zeros(struct buf *b, size_t n)
{
	while (n--)
		put_u8(b, 0);
}

static void put_sni(struct buf *b, const char *name, size_t len)
{
	struct buf ext = { 0 };

	put_u16(&ext, (unsigned)len + 3);
	put_u8(&ext, 0);
	put_u16(&ext, (unsigned)len);
	put(&ext, name, len);
	put_ext(b, 0, ext.data, ext.len);
	buf_done(&ext);
}

/* A handshake message around @exts, without record headers. */
static struct buf message_make(const struct buf *exts)
{
	struct buf b = { 0 };
	size_t body = 2 + 32 + 1 + 2 + 4 + 2 + 2 + exts->len;

	put_u8(&b, 1);
	put_u8(&b, (unsigned)(body >> 16));
	put_u16(&b, body & 0xffff);
	put_u16(&b, 0x0303);
	put_zeros(&b, 32);
	put_u8(&b, 0);
	put_u16(&b, 4);
	put_u16(&b, 0x0a0a); /* GREASE */
	put_u16(&b, 0x1301);
	put_u8(&b, 1);
	put_u8(&b, 0);
	put_u16(&b, (unsigned)exts->len);
	put(&b, exts->data, exts->len);
	return b;
}

/* @message in records of at most @max_bytes. */
static struct buf records_make(const struct buf *message, size_t max_bytes)
{
	struct buf b = { 0 };

	for (size_t at = 0; at < message->len;) {
		struct span part = span_head(span_skip(buf_span(message), at), max_bytes);

		put(&b, "\x16\x03\x01", 3);
		put_u16(&b, (unsigned)part.len);
		put(&b, part.data, part.len);
		at += part.len;
	}
	return b;
}

/* The wire form of a hello with these extensions, which are released. */
static struct buf hello_make(struct buf *exts, size_t record_bytes)
{
	struct buf message = message_make(exts);
	struct buf wire = records_make(&message, record_bytes);

	buf_done(&message);
	buf_done(exts);
	return wire;
}

static enum codec_result check(struct buf *wire, struct tls_hello *ret)
{
	enum codec_result r;

	memset(ret, 0, sizeof(*ret));
	r = split_check(&tls_hello_split, buf_span(wire), wire->len > 4000 ? 997 : 1, ret);
	buf_done(wire);
	return r;
}

static void test_captured(void **state)
{
	static const struct {
		const uint8_t *data;
		size_t len;
		const char *sni, *alpn;
		uint16_t version;
	} hellos[] = {
#define CAPTURED(name) captured_##name, sizeof(captured_##name)
		{ CAPTURED(openssl_tls13), "www.example.org", "h2,http/1.1", 0x0304 },
		{ CAPTURED(openssl_tls12), "example.net", "", 0x0303 },
		{ CAPTURED(openssl_no_sni), "", "", 0x0304 },
		{ CAPTURED(curl), "curl.example", "h2,http/1.1", 0x0304 },
		{ CAPTURED(node), "node.example", "h2,http/1.1", 0x0304 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(hellos); i++) {
		struct span in = span_of(hellos[i].data, hellos[i].len);
		struct tls_hello h;

		assert_int_equal(split_check(&tls_hello_split, in, 1, &h), CODEC_DONE);
		assert_string_equal(h.sni, hellos[i].sni);
		assert_string_equal(h.alpn, hellos[i].alpn);
		assert_int_equal(h.version, hellos[i].version);
		assert_int_equal(h.wire_bytes, in.len);
		assert_int_equal(h.message_bytes, in.len - 5);
		assert_int_equal(h.records, 1);
		assert_false(h.ech);
	}
}

/* What comes behind the hello (early data) is nobody's business here. */
static void test_bytes_behind(void **state)
{
	struct buf wire = { 0 };
	struct tls_hello h;

	put(&wire, captured_curl, sizeof(captured_curl));
	put(&wire, "\x14\x03\x03\x00\x01\x01\x17\x03\x03\xff\xff", 11);
	assert_int_equal(check(&wire, &h), CODEC_DONE);
	assert_int_equal(h.wire_bytes, sizeof(captured_curl));
}

/* In the manner of Chrome: GREASE everywhere, ECH, an X25519MLKEM768 share. */
static void test_grease(void **state)
{
	static const size_t record_sizes[] = { 1 << 14, 1000, 100, 7, 3, 1 };

	for (size_t i = 0; i < ARRAY_SIZE(record_sizes); i++) {
		struct buf exts = { 0 }, share = { 0 }, wire;
		struct tls_hello h;

		put_ext(&exts, 0x1a1a, "", 0);
		put_sni(&exts, "Shop.EXAMPLE.", 13);
		put_ext(&exts, 16, "\x00\x0f\x02h2\x08http/1.1\x02\xca,", 17);
		put_ext(&exts, 43, "\x06\xba\xba\x03\x04\x03\x03", 7);
		put_u16(&share, 4 + 1216);
		put_u16(&share, 0x11ec);
		put_u16(&share, 1216);
		put_zeros(&share, 1216);
		put_ext(&exts, 51, share.data, share.len);
		buf_done(&share);
		put_ext(&exts, 0xfe0d, "\x00", 1);
		put_ext(&exts, 0x2a2a, "\x00", 1);
		wire = hello_make(&exts, record_sizes[i]);
		assert_int_equal(check(&wire, &h), CODEC_DONE);
		assert_string_equal(h.sni, "shop.example");
		assert_string_equal(h.alpn, "h2,http/1.1,\\xca\\x2c");
		assert_int_equal(h.version, 0x0304);
		assert_int_equal(h.legacy_version, 0x0303);
		assert_true(h.ech);
		assert_int_equal(h.n_extensions, 7);
		assert_int_equal(h.n_ciphers, 2);
		assert_int_equal(h.records,
				 (h.message_bytes + record_sizes[i] - 1) / record_sizes[i]);
	}
}

/* The limit is on the message, to the byte. */
static void test_large(void **state)
{
	static const struct {
		size_t padding;
		enum codec_result expect;
	} cases[] = {
		{ 20000, CODEC_DONE },
		{ 40000, CODEC_DONE },
		{ TLS_HELLO_MAX_BYTES - 4 - 45 - 4 - 16, CODEC_DONE },
		{ TLS_HELLO_MAX_BYTES - 4 - 45 - 4 - 15, CODEC_BAD },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf exts = { 0 }, padding = { 0 }, wire;
		struct tls_hello h;

		put_zeros(&padding, cases[i].padding);
		put_ext(&exts, 21, padding.data, padding.len);
		buf_done(&padding);
		put_sni(&exts, "big.net", 7);
		wire = hello_make(&exts, 1 << 14);
		assert_int_equal(check(&wire, &h), cases[i].expect);
		if (cases[i].expect != CODEC_DONE)
			continue;
		assert_string_equal(h.sni, "big.net");
		assert_true(h.records >= 2);
		assert_true(h.message_bytes <= TLS_HELLO_MAX_BYTES);
	}
}

static void test_names(void **state)
{
	static const struct {
		const char *name;
		size_t len;
		enum codec_result expect;
		const char *sni;
	} cases[] = {
#define NAME(text) text, sizeof(text) - 1
		{ NAME("a_b.example"), CODEC_DONE, "a_b.example" },
		{ NAME("xn--bcher-kva.example"), CODEC_DONE, "xn--bcher-kva.example" },
		{ NAME("192.0.2.1"), CODEC_DONE, "" },
		{ NAME("2001:db8::1"), CODEC_DONE, "" },
		{ NAME("fe80::1%eth0"), CODEC_BAD, "" },
		{ NAME("192.0.2.1."), CODEC_BAD, "" },
		{ NAME("a\0b.example"), CODEC_BAD, "" },
		{ NAME("a..example"), CODEC_BAD, "" },
		{ NAME("."), CODEC_BAD, "" },
		{ NAME("b\xc3\xbc.example"), CODEC_BAD, "" },
		{ NAME("a b"), CODEC_BAD, "" },
		{ NAME("a:443"), CODEC_BAD, "" },
		{ NAME(""), CODEC_BAD, "" },
	};
	char longest[255];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf exts = { 0 }, wire;
		struct tls_hello h;

		put_sni(&exts, cases[i].name, cases[i].len);
		wire = hello_make(&exts, 1 << 14);
		assert_int_equal(check(&wire, &h), cases[i].expect);
		if (cases[i].expect == CODEC_DONE)
			assert_string_equal(h.sni, cases[i].sni);
	}
	for (size_t len = 253; len <= 255; len++) {
		struct buf exts = { 0 }, wire;
		struct tls_hello h;

		for (size_t i = 0; i < len; i++)
			longest[i] = i % 50 == 49 ? '.' : 'a';
		put_sni(&exts, longest, len);
		wire = hello_make(&exts, 1 << 14);
		assert_int_equal(check(&wire, &h), len == 253 ? CODEC_DONE : CODEC_BAD);
	}
}

/* ALPN that is too long for the text is cut at a whole name. */
static void test_alpn_long(void **state)
{
	struct buf exts = { 0 }, list = { 0 }, wire;
	struct tls_hello h;

	put_u16(&list, 100 * 9);
	for (size_t i = 0; i < 100; i++)
		put(&list, "\x08http/1.1", 9);
	put_ext(&exts, 16, list.data, list.len);
	buf_done(&list);
	wire = hello_make(&exts, 1 << 14);
	assert_int_equal(check(&wire, &h), CODEC_DONE);
	assert_int_equal(strlen(h.alpn), 28 * 9 - 1);
}

/* Extensions that lie about a length or come twice. */
static void test_malformed_extensions(void **state)
{
	static const struct {
		unsigned type;
		const char *data;
		size_t len;
	} cases[] = {
#define BODY(text) text, sizeof(text) - 1
		{ 0, BODY("") },
		{ 0, BODY("\x00") },
		{ 0, BODY("\x00\x00") },
		{ 0, BODY("\x00\x04\x00\x00\x02"
			  "a") },
		{ 0, BODY("\x00\x04\x00\x00\x01"
			  "ab") },
		{ 0, BODY("\x00\x05\x00\x00\x01"
			  "a") },
		{ 0, BODY("\x00\x08\x00\x00\x01"
			  "a\x00\x00\x01"
			  "b") },
		{ 16, BODY("") },
		{ 16, BODY("\x00\x00") },
		{ 16, BODY("\x00\x02\x00\x00") },
		{ 16, BODY("\x00\x03\x03h2") },
		{ 16, BODY("\x00\x03\x02h2x") },
		{ 43, BODY("") },
		{ 43, BODY("\x00") },
		{ 43, BODY("\x03\x03\x04\x03") },
		{ 43, BODY("\x02\x03\x04\x00") },
		{ 43, BODY("\x04\x03\x04") },
	};
	struct buf exts = { 0 }, wire;
	struct tls_hello h;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_ext(&exts, cases[i].type, cases[i].data, cases[i].len);
		wire = hello_make(&exts, 1 << 14);
		assert_int_equal(check(&wire, &h), CODEC_BAD);
	}
	put_ext(&exts, 77, "", 0);
	put_ext(&exts, 77, "", 0);
	wire = hello_make(&exts, 1 << 14);
	assert_int_equal(check(&wire, &h), CODEC_BAD);
	put_ext(&exts, 77, "", 0);
	put_u8(&exts, 0); /* half of a next one */
	wire = hello_make(&exts, 1 << 14);
	assert_int_equal(check(&wire, &h), CODEC_BAD);
}

/* However many there are, none may come twice. */
static void test_many_extensions(void **state)
{
	static const unsigned counts[] = { 2, 31, 32, 33, 34, 64, 1000 };
	struct buf exts = { 0 }, wire;
	struct tls_hello h;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		for (unsigned again = 0; again <= counts[i]; again += counts[i] < 100 ? 1 : 250) {
			for (unsigned n = 0; n < counts[i]; n++)
				put_ext(&exts, 0x1000 + 7 * n, "", 0);
			if (again) /* the last but so many */
				put_ext(&exts, 0x1000 + 7 * (counts[i] - again), "", 0);
			wire = hello_make(&exts, 1 << 14);
			assert_int_equal(check(&wire, &h), again ? CODEC_BAD : CODEC_DONE);
			if (!again)
				assert_int_equal(h.n_extensions, counts[i]);
		}
	}
}

/* Every single byte of a real hello cut out or changed: never a crash, never two answers. */
static void test_mutations(void **state)
{
	uint8_t copy[sizeof(captured_node)];
	struct tls_hello h;

	for (size_t i = 0; i < sizeof(copy); i++) {
		memcpy(copy, captured_node, sizeof(copy));
		copy[i] ^= 0xff;
		split_check(&tls_hello_split, span_of(copy, sizeof(copy)), 31, &h);
		memcpy(copy, captured_node, i);
		memcpy(copy + i, captured_node + i + 1, sizeof(copy) - i - 1);
		split_check(&tls_hello_split, span_of(copy, sizeof(copy) - 1), 31, &h);
	}
}

static void test_first_bytes(void **state)
{
	static const struct {
		const char *data;
		size_t len;
		enum codec_result expect;
	} cases[] = {
		{ BODY(""), CODEC_MORE },
		{ BODY("\x16"), CODEC_MORE },
		{ BODY("\x16\x03\x01\x02"), CODEC_MORE },
		{ BODY("\x16\x03\x01\x02\x00\x01"), CODEC_MORE },
		{ BODY("G"), CODEC_OTHER },
		{ BODY("\x17"), CODEC_OTHER },
		{ BODY("\x80\x2e\x01\x03"), CODEC_OTHER }, /* SSLv2 */
		{ BODY("\x16\x02"), CODEC_OTHER },
		{ BODY("\x16\xfe\xfd"), CODEC_OTHER },		   /* DTLS */
		{ BODY("\x16\x03\x01\x02\x00\x02"), CODEC_OTHER }, /* ServerHello */
		{ BODY("\x16\x03\x01\x00\x00"), CODEC_BAD },
		{ BODY("\x16\x03\x01\x40\x01"), CODEC_BAD },
		{ BODY("\x16\x03\x01\x40\x00"), CODEC_MORE },
		{ BODY("\x16\x03\x01\x00\x04\x01\x00\xff\xfd"), CODEC_BAD }, /* over 64 KiB */
		{ BODY("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), CODEC_BAD }, /* empty */
		{ BODY("\x16\x03\x01\x00\x06\x01\x00\x00\x01"),
		  CODEC_BAD }, /* more in the record */
		{ BODY("\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00"), CODEC_BAD },
		{ BODY("\x16\x03\x01\x00\x01\x01\x17"), CODEC_BAD },
		{ BODY("\x16\x03\x01\x00\x01\x01\x16\x02"), CODEC_BAD },
		{ BODY("\x16\x03\x01\x00\x01\x01\x16\x03"), CODEC_MORE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct tls_hello h;

		assert_int_equal(split_check(&tls_hello_split, span_of(cases[i].data, cases[i].len),
					     1, &h),
				 cases[i].expect);
	}
}

/* SSL 3 and TLS 1.0 clients may send no extensions at all. */
static void test_no_extensions(void **state)
{
	struct buf message = { 0 }, wire;
	struct tls_hello h;

	put(&message, "\x01\x00\x00\x29\x03\x00", 6);
	put_zeros(&message, 32);
	put(&message, "\x00\x00\x02\x00\x0a\x01\x00", 7);
	wire = records_make(&message, 1 << 14);
	buf_done(&message);
	assert_int_equal(check(&wire, &h), CODEC_DONE);
	assert_int_equal(h.version, 0x0300);
	assert_string_equal(h.sni, "");
}

/* 60,000 records of one byte, fed byte by byte: minutes if each call began anew. */
static void test_linear(void **state)
{
	struct buf exts = { 0 }, padding = { 0 }, wire;
	struct tls_hello_scan scan = { 0 };
	enum codec_result r = CODEC_MORE;
	struct tls_hello h;
	clock_t start;

	put_zeros(&padding, 60000);
	put_ext(&exts, 21, padding.data, padding.len);
	buf_done(&padding);
	wire = hello_make(&exts, 1);
	start = clock();
	for (size_t n = 0; n <= wire.len; n++) {
		assert_int_equal(r, CODEC_MORE);
		r = tls_hello_parse(&scan, span_head(buf_span(&wire), n), &h);
	}
	assert_int_equal(r, CODEC_DONE);
	assert_int_equal(h.records, h.message_bytes);
	assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
	buf_done(&wire);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_captured),
		cmocka_unit_test(test_bytes_behind),
		cmocka_unit_test(test_grease),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_alpn_long),
		cmocka_unit_test(test_malformed_extensions),
		cmocka_unit_test(test_many_extensions),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_first_bytes),
		cmocka_unit_test(test_no_extensions),
		cmocka_unit_test(test_linear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
