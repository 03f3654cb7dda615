/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "engine/file.h"
#include "engine/tls_config.h"
#include "engine/words.h"
#include "stream/tls_profile.h"

#define ALPN_MAX_BYTES 1024

/* Length-prefixed, as OpenSSL and the wire have it. */
static void alpn_load(struct yaml_node *values, struct buf *ret, struct diag *d)
{
	for (struct yaml_node *n = yaml_first(values); n; n = yaml_next(values, n)) {
		size_t len = strlen(n->text);
		uint8_t byte = (uint8_t)len;

		if (!len || len > UINT8_MAX || ret->len + len + 1 > ALPN_MAX_BYTES) {
			diag_add(d, n->at, n->text, "1 to 255 characters, all together 1 KiB",
				 "too long");
			return;
		}
		if (buf_append(ret, span_of(&byte, 1), ALPN_MAX_BYTES) < 0 ||
		    buf_append(ret, span_str(n->text), ALPN_MAX_BYTES) < 0)
			diag_no_memory(d);
	}
}

/* Where the file stands that is wrong. */
static const struct yaml_node *fault_node(const struct yaml_node *map, enum tls_file file)
{
	switch (file) {
	case TLS_FILE_CERTIFICATE:
		return yaml_get(map, "certificate");
	case TLS_FILE_KEY:
		return yaml_get(map, "key");
	case TLS_FILE_CA:
		return yaml_get(map, "ca");
	case TLS_FILE_NONE:
		break;
	}
	return map;
}

static void entry_load(const struct yaml_node *map, const char *folder, struct tls_entry *ret,
		       struct diag *d)
{
	const struct yaml_node *certificate = yaml_get(map, "certificate"), *at;
	const struct yaml_node *key = yaml_get(map, "key"), *min = yaml_get(map, "min-version");
	_cleanup_free_ char *certificate_path = NULL, *key_path = NULL;
	struct tls_settings s = { .role = TLS_SERVER, .min_version = 0x0303 };
	struct tls_fault fault = { 0 };
	struct buf alpn = { 0 };
	int r;

	if (!certificate || !key)
		return; /* said already */
	certificate_path = file_below(folder, certificate->text);
	key_path = file_below(folder, key->text);
	if (!certificate_path || !key_path) {
		diag_no_memory(d);
		return;
	}
	alpn_load(yaml_get(map, "alpn"), &alpn, d);
	for (struct yaml_node *n = yaml_first(yaml_get(map, "alpn")); n;
	     n = yaml_next(yaml_get(map, "alpn"), n))
		ret->offers_h2 |= !strcmp(n->text, "h2");
	s.certificate = certificate_path;
	s.key = key_path;
	s.alpn = buf_span(&alpn);
	if (min)
		s.min_version = (uint16_t)min->value;
	r = tls_profile_new(&s, map->key->text, &ret->profile, &fault);
	if (r == -EINVAL) {
		at = fault_node(map, fault.file);
		diag_add(d, at->at, at->kind == YAML_SCALAR ? at->text : NULL, NULL, "%s",
			 fault.text);
	} else if (r < 0) {
		diag_no_memory(d);
	}
	buf_done(&alpn);
}

void tls_entries_load(struct yaml_node *node, const char *folder, struct config *c, struct diag *d)
{
	if (!node || !node->n)
		return;
	c->tls = calloc(node->n, sizeof(*c->tls));
	if (!c->tls) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *n = node->child; n && !d->no_memory; n = n->next) {
		struct tls_entry *entry = &c->tls[c->n_tls++];

		entry->name = strdup(n->key->text);
		if (!entry->name)
			diag_no_memory(d);
		else if (!n->bad)
			entry_load(n, folder, entry, d);
	}
}

void tls_entries_free(struct config *c)
{
	for (size_t i = 0; i < c->n_tls; i++) {
		free(c->tls[i].name);
		tls_profile_free(c->tls[i].profile);
	}
	free(c->tls);
}

static const struct tls_entry *entry_find(const struct config *c, const struct yaml_node *name,
					  struct diag *d)
{
	struct words words = { .wanted = name->text };
	char perhaps[96];

	for (size_t i = 0; i < c->n_tls; i++) {
		if (!strcmp(c->tls[i].name, name->text))
			return &c->tls[i];
		words_add(&words, c->tls[i].name);
	}
	diag_add(d, name->at, name->text, words.len ? words.text : NULL,
		 "there is no such entry of tls%s", words_perhaps(&words, perhaps));
	return NULL;
}

static bool mode_speaks_http(enum listener_mode mode)
{
	return mode == LISTENER_HTTP || mode == LISTENER_HTTPS || mode == LISTENER_MIXED;
}

void listener_tls_load(const struct yaml_node *map, const struct config *c,
		       struct listener_config *l, struct diag *d)
{
	const struct yaml_node *name = yaml_get(map, "tls");
	const struct tls_entry *entry = name ? entry_find(c, name, d) : NULL;

	if (!name && l->mode == LISTENER_HTTPS)
		diag_add(d, map->at, "tls", "name of an entry of tls",
			 "this key is missing for mode https");
	if (name && listener_mode_intercepts(l->mode))
		diag_add(d, name->key->at, "tls",
			 "this key with mode: https, http, socks, mixed, fixed",
			 "without effect for mode %s: its clients speak with the server",
			 listener_mode_name(l->mode));
	if (entry && entry->offers_h2 && mode_speaks_http(l->mode))
		diag_add(d, name->at, name->text, "an entry whose alpn is http/1.1",
			 "its alpn offers h2, which clients would speak; mode %s speaks HTTP/1.1",
			 listener_mode_name(l->mode));
	if (entry)
		l->tls = (struct tls_accept){
			.layer = { .ops = &tls_layer_ops, .conf = entry->profile },
			.optional = l->mode == LISTENER_MIXED,
		};
}
