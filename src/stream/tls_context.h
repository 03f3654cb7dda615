/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STREAM_TLS_CONTEXT_H
#define STREAM_TLS_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define TLS_TICKET_KEYS_BYTES 80

/* The end of a connection that is ours. */
enum tls_role {
	TLS_SERVER,
	TLS_CLIENT,
};

/**
 * struct tls_settings - what a configuration says about TLS
 * @certificate, @key: server: paths of PEM files, the chain behind the certificate
 * @ca:		client: path of a PEM file with those it trusts; NULL: the system's
 * @name:	client: who the server is, a name or an address; NULL: whoever
 * @verify:	client: the certificate must be good, and that of @name
 * @min_version: 0x0303 or 0x0304
 * @alpn:	protocols, each behind a byte with its length (RFC 7301); empty: none is agreed on
 * @ticket_keys: server: shared by contexts between which clients may resume
 */
struct tls_settings {
	enum tls_role role;
	const char *certificate, *key, *ca, *name;
	bool verify;
	uint16_t min_version;
	struct span alpn;
	uint8_t ticket_keys[TLS_TICKET_KEYS_BYTES];
};

enum tls_file {
	TLS_FILE_NONE,
	TLS_FILE_CERTIFICATE,
	TLS_FILE_KEY,
	TLS_FILE_CA,
};

/* Which file is wrong, and what is wrong with it, for people. */
struct tls_fault {
	enum tls_file file;
	char text[160];
};

struct tls_context;

/**
 * tls_context_new() - read the files
 * @s:		borrowed for as long as the context or a stream of it lives, but for the paths
 *
 * A context belongs to one thread: nothing in it is locked or counted atomically.
 * Return: 0, -EINVAL with @ret_fault set, -ENOMEM.
 */
int tls_context_new(const struct tls_settings *s, struct tls_context **ret,
		    struct tls_fault *ret_fault);

/* Streams keep the context they began with. */
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);

#endif
