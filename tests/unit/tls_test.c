/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two TLS layers against each other over ends without sockets, which stutter: reads and writes
 * are short or say EAGAIN as a seeded generator likes.
 */
#include "tls_fixture.h"

/* ---- tests ---- */

static void test_both_ways(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 20; seed++) {
		struct pair p = { 0 };

		pair_init(&p, seed);
		pair_must_open(&p);
		carry(&p.client, &p.server, 300000);
		carry(&p.server, &p.client, 300000);
		pair_done(&p);
	}
}

/* No call to tls_open(): reads and writes do what is necessary. */
static void test_nobody_opens(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 10; seed++) {
		struct pair p = { 0 };
		ssize_t r = -EAGAIN;
		uint8_t c;

		pair_init(&p, seed);
		for (unsigned int i = 0; i < STEPS_MAX && r == -EAGAIN; i++) {
			edge(&p.client);
			edge(&p.server);
			(void)stream_write(p.server.end.top, (const uint8_t *)"x", 1);
			r = stream_read(p.client.end.top, &c, 1);
			(void)stream_read(p.server.end.top, &c, 1);
		}
		assert_int_equal(r, 1);
		pair_done(&p);
	}
}

/* What one end reads stops for once, and then goes on: at each byte of the first records, then
 * at every seventh. */
static void test_handshake_split(void **state)
{
	struct pair whole = { 0 };

	(void)state;
	pair_init(&whole, 0);
	pair_must_open(&whole);
	for (unsigned int side = 0; side < 2; side++) {
		size_t n = side ? whole.server.n_read : whole.client.n_read;

		assert_true(n > 200);
		for (size_t at = 0; at < n; at += at < 150 ? 1 : 7) {
			struct pair p = { 0 };

			pair_init(&p, 0);
			(side ? &p.server : &p.client)->allowed = at;
			for (unsigned int i = 0; i < 5; i++) {
				edge(&p.client);
				edge(&p.server);
				(void)tls_open(&p.client.end);
				(void)tls_open(&p.server.end);
			}
			assert_true(at + 5 > n ||
				    tls_open(side ? &p.server.end : &p.client.end) == -EAGAIN);
			/* what it holds is no reason to read: nothing has come */
			(side ? &p.server : &p.client)->end.readable = false;
			assert_false(end_can_read(side ? &p.server.end : &p.client.end));
			(side ? &p.server : &p.client)->allowed = SIZE_MAX;
			pair_must_open(&p);
			carry(&p.client, &p.server, 10);
			pair_done(&p);
		}
	}
	pair_done(&whole);
}

/* Bytes that were looked at before are the first that the layer reads. */
static void test_hello_given_back(void **state)
{
	(void)state;
	for (size_t n = 1; n < 400; n += 7) {
		struct pair p = { 0 };
		uint8_t look[512];
		ssize_t got;

		pair_init(&p, 0);
		end_close(&p.server.end, false);
		p.server.closed = false;
		edge(&p.server);
		(void)tls_open(&p.client.end);
		got = stream_read(p.server.end.top, look, n);
		assert_true(got > 0);
		assert_int_equal(end_unread(&p.server.end, span_of(look, (size_t)got)), 0);
		assert_int_equal(tls_push(&p.server.end, p.server_context), 0);
		p.server.end.readable = false;
		assert_true(end_can_read(&p.server.end));
		pair_must_open(&p);
		assert_ptr_equal(p.server.end.top->below, &p.server.end.socket);
		carry(&p.server, &p.client, 100);
		pair_done(&p);
	}
}

static void test_end(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 10; seed++) {
		struct pair p = { 0 };

		pair_init(&p, seed);
		pair_must_open(&p);
		carry(&p.client, &p.server, 50000);
		for (unsigned int i = 0; i < STEPS_MAX && !p.client.finished; i++) {
			edge(&p.client);
			if (i == 0)
				(void)stream_finish(p.client.end.top);
			else
				(void)stream_flush(p.client.end.top);
		}
		assert_true(p.client.finished);
		assert_int_equal(read_some(&p.server), 0);
		/* the other direction goes on */
		carry(&p.server, &p.client, 50000);
		pair_done(&p);
	}
}

/* The connection ends at any byte of a message: never as if that were its end. */
static void test_cut(void **state)
{
	(void)state;
	for (size_t keep = 0; keep < 60; keep++) {
		struct pair p = { 0 };
		ssize_t r;

		pair_init(&p, 0);
		pair_must_open(&p);
		carry(&p.client, &p.server, 100);
		assert_int_equal(stream_write(p.client.end.top, (const uint8_t *)"0123456789", 10),
				 10);
		if (p.server.in.len > keep)
			p.server.in.len = keep;
		p.server.cut = true;
		r = read_some(&p.server);
		if (r > 0) { /* it was whole */
			assert_int_equal(r, 10);
			r = read_some(&p.server);
		}
		assert_int_equal(r, -ECONNRESET);
		p.server.end.readable = false;
		assert_true(end_can_read(&p.server.end)); /* it stays dead, and can be asked why */
		assert_int_equal(stream_read(p.server.end.top, (uint8_t[1]){ 0 }, 1), -ECONNRESET);
		assert_int_equal(stream_write(p.server.end.top, (const uint8_t *)"x", 1),
				 -ECONNRESET);
		pair_done(&p);
	}
}

static void test_cut_in_the_handshake(void **state)
{
	struct pair p = { 0 };
	int c, s;

	(void)state;
	pair_init(&p, 0);
	p.client.allowed = 100;
	p.client.cut = true;
	(void)tls_open(&p.client.end);
	(void)tls_open(&p.server.end);
	edge(&p.client);
	p.client.in.len = 100;
	pair_open(&p, &c, &s);
	assert_int_equal(c, -ECONNRESET);
	pair_done(&p);
}

/* A byte changed on its way. */
static void test_tampered(void **state)
{
	struct pair p = { 0 };

	(void)state;
	pair_init(&p, 0);
	pair_must_open(&p);
	carry(&p.client, &p.server, 100);
	assert_int_equal(stream_write(p.client.end.top, (const uint8_t *)"0123456789", 10), 10);
	p.server.in.data[p.server.in.len - 1] ^= 1;
	assert_int_equal(read_some(&p.server), -EPROTO);
	assert_true(strlen(tls_failure(&p.server.end)) > 3);
	pair_done(&p);
}

static void test_who_is_verified(void **state)
{
	static const struct {
		const char *name;
		bool ca, verify;
		int result;
	} cases[] = {
		{ "name.test", true, true, 0 },	       { "127.0.0.1", true, true, 0 },
		{ "other.test", true, true, -EPROTO }, { "127.0.0.2", true, true, -EPROTO },
		{ "name.test", false, true, -EPROTO }, { "other.test", false, false, 0 },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pair p = { .client_settings = { .role = TLS_CLIENT,
						       .ca = cases[i].ca ? certificate_path : NULL,
						       .name = cases[i].name,
						       .verify = cases[i].verify,
						       .min_version = 0x0303 } };
		int c, s;

		pair_init(&p, 0);
		pair_open(&p, &c, &s);
		assert_int_equal(c, cases[i].result);
		if (c) /* TLS 1.3: it may have been open, and then gets an alert */
			assert_true(s == -EPROTO || read_some(&p.server) == -EPROTO);
		pair_done(&p);
	}
}

static void test_alpn(void **state)
{
	struct pair p = { .client_settings = { .role = TLS_CLIENT, .min_version = 0x0303 },
			  .server_settings = { .role = TLS_SERVER,
					       .certificate = certificate_path,
					       .key = key_path,
					       .min_version = 0x0303 } };
	int c, s;

	(void)state;
	p.client_settings.alpn = span_str("\2h2\10http/1.1");
	p.server_settings.alpn = span_str("\10http/1.1");
	pair_init(&p, 0);
	pair_must_open(&p);
	pair_done(&p);
	p.server_settings.alpn = span_str("\3xyz");
	pair_init(&p, 0);
	pair_open(&p, &c, &s);
	assert_int_equal(s, -EPROTO);
	assert_int_equal(c, -EPROTO);
	pair_done(&p);
}

/* A client of TLS 1.2 that asks for another handshake is refused, and goes on or not. */
static void test_renegotiation(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL *ssl = SSL_new(ctx);
	struct pair p = { 0 };
	char bytes[20000];
	ssize_t heard = -EAGAIN;
	int r = 0;

	(void)state;
	pair_init(&p, 0);
	SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	for (unsigned int i = 0; i < 20; i++) {
		int n;

		if (i == 10) {
			assert_int_equal(r, 1);
			assert_int_equal(SSL_renegotiate(ssl), 1);
		}
		r = SSL_do_handshake(ssl);
		if (i > 10 && SSL_get_error(ssl, r) == SSL_ERROR_SSL) {
			assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
			break;
		}
		n = BIO_read(out, bytes, sizeof(bytes));
		if (n > 0)
			buf_append(&p.server.in, span_of(bytes, (size_t)n), SIZE_MAX);
		edge(&p.server);
		if (i < 10)
			(void)tls_open(&p.server.end);
		else
			heard = stream_read(p.server.end.top, (uint8_t *)bytes, 100);
		assert_true(heard == -EAGAIN || heard == -EPROTO); /* it has given up */
		BIO_write(in, p.client.in.data, (int)p.client.in.len);
		buf_consume(&p.client.in, p.client.in.len);
		assert_true(i < 19);
	}
	ERR_clear_error();
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	pair_done(&p);
}

/* ---- files ---- */

static void test_files(void **state)
{
	struct tls_settings s = { .role = TLS_SERVER,
				  .certificate = certificate_path,
				  .key = key_path,
				  .min_version = 0x0303 };
	struct tls_context *c = NULL;
	struct tls_fault fault = { 0 };
	struct tls_settings bad = s;

	(void)state;
	bad.key = other_key_path;
	assert_int_equal(tls_context_new(&bad, &c, &fault), -EINVAL);
	assert_int_equal(fault.file, TLS_FILE_KEY);
	assert_string_equal(fault.text, "holds another key than the certificate's");
	bad.key = certificate_path;
	assert_int_equal(tls_context_new(&bad, &c, &fault), -EINVAL);
	assert_string_equal(fault.text, "holds no private key");
	bad.key = "/nonexistent/key.pem";
	assert_int_equal(tls_context_new(&bad, &c, &fault), -EINVAL);
	assert_string_equal(fault.text, "cannot be read: No such file or directory");
	bad = s;
	bad.certificate = key_path;
	assert_int_equal(tls_context_new(&bad, &c, &fault), -EINVAL);
	assert_int_equal(fault.file, TLS_FILE_CERTIFICATE);
	assert_string_equal(fault.text, "holds no certificate that can be used");
	bad = (struct tls_settings){ .role = TLS_CLIENT, .ca = key_path, .min_version = 0x0303 };
	assert_int_equal(tls_context_new(&bad, &c, &fault), -EINVAL);
	assert_int_equal(fault.file, TLS_FILE_CA);
	assert_null(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_nobody_opens),
		cmocka_unit_test(test_handshake_split),
		cmocka_unit_test(test_hello_given_back),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_cut_in_the_handshake),
		cmocka_unit_test(test_tampered),
		cmocka_unit_test(test_who_is_verified),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_renegotiation),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, files_make, files_remove);
}
