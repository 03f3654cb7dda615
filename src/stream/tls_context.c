/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  What OpenSSL shares between connections it counts atomically and guards
 * with locks; so each thread has a context of its own for each configuration, and resumption
 * between threads works by tickets, whose keys are shared.  No session is kept in memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "base/mem.h"
#include "stream/tls_openssl.h"

/* Of TLS 1.2: forward secrecy and AEAD, what RFC 9325 section 4.2 recommends, and nothing else. */
#define TLS_1_2_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

static int fault_set(struct tls_fault *f, enum tls_file file, const char *text)
{
	f->file = file;
	snprintf(f->text, sizeof(f->text), "%s", text);
	ERR_clear_error();
	return -EINVAL;
}

/* A key with a pass phrase: nobody is asked for one. */
static int no_pass_phrase(char *buf, int size, int writing, void *data)
{
	*(bool *)data = true;
	return -1;
}

/* Can it be read at all?  OpenSSL says less. */
static int file_check(const char *path, enum tls_file file, struct tls_fault *ret)
{
	char text[sizeof(ret->text)];
	FILE *f = fopen(path, "re");

	if (f) {
		fclose(f);
		return 0;
	}
	snprintf(text, sizeof(text), "cannot be read: %s", strerror(errno));
	return fault_set(ret, file, text);
}

static int server_load(SSL_CTX *ssl, const struct tls_settings *s, struct tls_fault *ret)
{
	bool has_phrase = false;

	if (file_check(s->certificate, TLS_FILE_CERTIFICATE, ret) < 0 ||
	    file_check(s->key, TLS_FILE_KEY, ret) < 0)
		return -EINVAL;
	if (SSL_CTX_set_cipher_list(ssl, TLS_1_2_CIPHERS) != 1)
		return -ENOMEM;
	SSL_CTX_set_default_passwd_cb(ssl, no_pass_phrase);
	SSL_CTX_set_default_passwd_cb_userdata(ssl, &has_phrase);
	if (SSL_CTX_use_certificate_chain_file(ssl, s->certificate) != 1)
		return fault_set(ret, TLS_FILE_CERTIFICATE,
				 "holds no certificate that can be used");
	if (SSL_CTX_use_PrivateKey_file(ssl, s->key, SSL_FILETYPE_PEM) != 1) {
		int reason = ERR_GET_REASON(ERR_peek_last_error());

		return fault_set(ret, TLS_FILE_KEY,
				 has_phrase ? "holds a key with a pass phrase"
				 : reason == X509_R_KEY_VALUES_MISMATCH ||
						 reason == X509_R_KEY_TYPE_MISMATCH
					 ? "holds another key than the certificate's"
					 : "holds no private key");
	}
	SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ssl, 1);
	if (SSL_CTX_set_tlsext_ticket_keys(ssl, (void *)(uintptr_t)s->ticket_keys,
					   sizeof(s->ticket_keys)) != 1)
		return -ENOMEM;
	return 0;
}

static int client_load(SSL_CTX *ssl, const struct tls_settings *s, struct tls_fault *ret)
{
	if (s->ca && file_check(s->ca, TLS_FILE_CA, ret) < 0)
		return -EINVAL;
	if (s->ca && SSL_CTX_load_verify_file(ssl, s->ca) != 1)
		return fault_set(ret, TLS_FILE_CA, "holds no certificate that can be used");
	if (!s->verify)
		return 0;
	if (!s->ca && SSL_CTX_set_default_verify_paths(ssl) != 1)
		return -ENOMEM;
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	return 0;
}

static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned int in_len, void *arg)
{
	const struct tls_settings *s = arg;

	if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, s->alpn.data,
				  (unsigned int)s->alpn.len, in, in_len) == OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_OK;
	return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 section 3.2 */
}

static int alpn_set(SSL_CTX *ssl, const struct tls_settings *s)
{
	if (!s->alpn.len)
		return 0;
	if (s->role == TLS_SERVER)
		SSL_CTX_set_alpn_select_cb(ssl, alpn_select, (void *)(uintptr_t)s);
	else if (SSL_CTX_set_alpn_protos(ssl, s->alpn.data, (unsigned int)s->alpn.len) != 0)
		return -ENOMEM;
	return 0;
}

int tls_context_new(const struct tls_settings *s, struct tls_context **ret,
		    struct tls_fault *ret_fault)
{
	bool server = s->role == TLS_SERVER;
	struct tls_context *c = NEW0(struct tls_context);
	int r = -ENOMEM;

	if (!c)
		return -ENOMEM;
	c->n_refs = 1;
	c->settings = s;
	c->bio = tls_bio_new();
	c->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!c->bio || !c->ssl)
		goto out;
	SSL_CTX_set_min_proto_version(c->ssl, s->min_version);
	SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(c->ssl, 1);
	r = server ? server_load(c->ssl, s, ret_fault) : client_load(c->ssl, s, ret_fault);
	if (!r)
		r = alpn_set(c->ssl, s);
out:
	ERR_clear_error();
	if (r < 0)
		tls_context_unref(c);
	else
		*ret = c;
	return r;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
	c->n_refs++;
	return c;
}

void tls_context_unref(struct tls_context *c)
{
	if (!c || --c->n_refs)
		return;
	SSL_CTX_free(c->ssl);
	BIO_meth_free(c->bio);
	free(c);
}
