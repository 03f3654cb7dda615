/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_TLS_FIXTURE_H
#define UNIT_TLS_FIXTURE_H

/* Two TLS layers against each other over ends without sockets, and a certificate for them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/mem.h"
#include "stream/tls.h"

#define STEPS_MAX 200000

/**
 * struct wire - one end of a connection in memory
 * @in:		what the other end has written
 * @allowed:	how much of it may be read so far; SIZE_MAX: all
 * @stutters:	reads and writes are short, or nothing
 * @cut:	the other end is gone without a word
 */
struct wire {
	struct end end;
	struct wire *peer;
	struct buf in;
	size_t n_read, allowed;
	uint32_t seed;
	bool stutters, finished, cut, closed;
};

static char folder[] = "/tmp/limpid-tls-XXXXXX";
static char certificate_path[64], key_path[64], other_key_path[64];

/* ---- the wire ---- */

static inline uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* How much of @n this time; 0: EAGAIN. */
static inline size_t portion(struct wire *w, size_t n)
{
	uint32_t r = random_next(&w->seed);

	if (!w->stutters || !n)
		return n;
	return r % 4 == 0 ? 0 : 1 + r % (r % 3 ? 7 : 5000) % n;
}

static inline ssize_t wire_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	struct wire *w = container_of(s->end, struct wire, end);
	size_t n = w->in.len, left = w->allowed - w->n_read;

	assert_true(w->end.readable);
	if (w->allowed != SIZE_MAX && n > left)
		n = left;
	n = portion(w, n < cap_bytes ? n : cap_bytes);
	if (!n && !w->in.len && (w->peer->finished || w->cut))
		return 0;
	if (!n) {
		w->end.readable = false;
		return -EAGAIN;
	}
	memcpy(dst, w->in.data, n);
	buf_consume(&w->in, n);
	w->n_read += n;
	return (ssize_t)n;
}

static inline ssize_t wire_write(struct stream *s, const uint8_t *src, size_t len_bytes)
{
	struct wire *w = container_of(s->end, struct wire, end);
	size_t n = portion(w, len_bytes);

	assert_true(w->end.writable);
	assert_false(w->finished);
	if (n < len_bytes)
		w->end.writable = false;
	if (!n)
		return -EAGAIN;
	assert_int_equal(buf_append(&w->peer->in, span_of(src, n), SIZE_MAX), 0);
	return (ssize_t)n;
}

static inline int wire_finish(struct stream *s)
{
	container_of(s->end, struct wire, end)->finished = true;
	return 0;
}

static inline void wire_close(struct stream *s, bool orderly)
{
	container_of(s->end, struct wire, end)->closed = true;
}

static const struct stream_ops wire_ops = {
	.name = "wire",
	.read = wire_read,
	.write = wire_write,
	.finish = wire_finish,
	.close = wire_close,
};

/* ---- two ends ---- */

struct pair {
	struct wire client, server;
	struct tls_settings client_settings, server_settings;
	struct tls_context *client_context, *server_context;
};

static inline void edge(struct wire *w)
{
	w->end.readable = w->end.writable = true;
}

static inline void pair_init(struct pair *p, uint32_t seed)
{
	struct tls_fault fault;

	for (unsigned int i = 0; i < 2; i++) {
		struct wire *w = i ? &p->server : &p->client;

		*w = (struct wire){ .peer = i ? &p->client : &p->server,
				    .allowed = SIZE_MAX,
				    .seed = seed * 2 + i,
				    .stutters = seed };
		end_init(&w->end, NULL, &wire_ops);
		w->end.fd = 1000;
		edge(w);
	}
	if (!p->client_settings.min_version)
		p->client_settings = (struct tls_settings){ .role = TLS_CLIENT,
							    .ca = certificate_path,
							    .name = "name.test",
							    .verify = true,
							    .min_version = 0x0303 };
	if (!p->server_settings.min_version)
		p->server_settings = (struct tls_settings){ .role = TLS_SERVER,
							    .certificate = certificate_path,
							    .key = key_path,
							    .min_version = 0x0303 };
	assert_int_equal(tls_context_new(&p->client_settings, &p->client_context, &fault), 0);
	assert_int_equal(tls_context_new(&p->server_settings, &p->server_context, &fault), 0);
	assert_int_equal(tls_push(&p->client.end, p->client_context), 0);
	assert_int_equal(tls_push(&p->server.end, p->server_context), 0);
}

static inline void pair_done(struct pair *p)
{
	end_close(&p->client.end, false);
	end_close(&p->server.end, false);
	assert_true(p->client.closed && p->server.closed);
	buf_done(&p->client.in);
	buf_done(&p->server.in);
	tls_context_unref(p->client_context);
	tls_context_unref(p->server_context);
}

/* Until both are open, or either fails; the results. */
static inline void pair_open(struct pair *p, int *ret_client, int *ret_server)
{
	int c = -EAGAIN, s = -EAGAIN;

	for (unsigned int i = 0; i < STEPS_MAX && (c || s); i++) {
		if (c && c != -EAGAIN && s && s != -EAGAIN)
			break;
		if (c && c != -EAGAIN)
			p->client.finished = true; /* it would close */
		if (s && s != -EAGAIN)
			p->server.finished = true;
		edge(&p->client);
		edge(&p->server);
		if (c == -EAGAIN)
			c = tls_open(&p->client.end);
		if (s == -EAGAIN)
			s = tls_open(&p->server.end);
	}
	*ret_client = c;
	*ret_server = s;
}

static inline void pair_must_open(struct pair *p)
{
	int c, s;

	pair_open(p, &c, &s);
	assert_int_equal(c, 0);
	assert_int_equal(s, 0);
}

static inline uint8_t byte_at(size_t i)
{
	return (uint8_t)((i * 167 + (i >> 8) * 13) & 255);
}

/* @n bytes from @from to @to, with what lanes do: again what was not taken. */
static inline void carry(struct wire *from, struct wire *to, size_t n)
{
	size_t sent = 0, got = 0;
	uint8_t out[40000], in[30000];
	ssize_t r;

	for (unsigned int i = 0; i < STEPS_MAX && got < n; i++) {
		size_t len = n - sent < sizeof(out) ? n - sent : sizeof(out);

		edge(from);
		edge(to);
		for (size_t k = 0; k < len; k++)
			out[k] = byte_at(sent + k);
		r = len ? stream_write(from->end.top, out, len) : -EAGAIN;
		assert_true(r > 0 || r == -EAGAIN);
		sent += r > 0 ? (size_t)r : 0;
		while (end_can_read(&to->end)) {
			r = stream_read(to->end.top, in, sizeof(in));
			if (r == -EAGAIN)
				break;
			assert_true(r > 0);
			for (ssize_t k = 0; k < r; k++)
				if (in[k] != byte_at(got + (size_t)k))
					fail_msg("byte %zu differs", got + (size_t)k);
			got += (size_t)r;
		}
	}
	assert_int_equal(got, n);
}

static inline ssize_t read_some(struct wire *w)
{
	uint8_t in[1000];
	ssize_t r = -EAGAIN;

	for (unsigned int i = 0; i < STEPS_MAX && r == -EAGAIN; i++) {
		edge(w);
		r = stream_read(w->end.top, in, sizeof(in));
	}
	return r;
}

/* ---- files ---- */

static inline EVP_PKEY *key_write(const char *path)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
	return key;
}

static inline int files_make(void **state)
{
	X509 *x = X509_new();
	X509_EXTENSION *names;
	EVP_PKEY *key;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(certificate_path, sizeof(certificate_path), "%s/certificate.pem", folder);
	snprintf(key_path, sizeof(key_path), "%s/key.pem", folder);
	snprintf(other_key_path, sizeof(other_key_path), "%s/other.pem", folder);
	EVP_PKEY_free(key_write(other_key_path));
	key = key_write(key_path);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"name.test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:name.test,IP:127.0.0.1");
	X509_add_ext(x, names, -1);
	X509_EXTENSION_free(names);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	f = fopen(certificate_path, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
	return 0;
}

static inline int files_remove(void **state)
{
	(void)state;
	unlink(certificate_path);
	unlink(key_path);
	unlink(other_key_path);
	return rmdir(folder);
}

#endif
