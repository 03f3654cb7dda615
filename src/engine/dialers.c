/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hostname.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/http1_connect.h"
#include "core/via.h"
#include "engine/dialers.h"
#include "engine/file.h"
#include "engine/names.h"
#include "engine/words.h"
#include "stream/tls_profile.h"

static char *copy(const char *text, struct diag *d)
{
	char *p = strdup(text);

	if (!p)
		diag_no_memory(d);
	return p;
}

const struct via *dialer_find(const struct config *c, const struct yaml_node *name,
			      struct diag *d)
{
	struct words words = { .wanted = name->text };
	char perhaps[96];

	for (size_t i = 0; i < c->n_dialers; i++) {
		if (!strcmp(c->dialers[i].name, name->text))
			return &c->dialers[i];
		words_add(&words, c->dialers[i].name);
	}
	diag_add(d, name->at, name->text, words.len ? words.text : NULL,
		 "there is no such dialer%s", words_perhaps(&words, perhaps));
	return NULL;
}

/* The first line of a file. */
static char *password_read(const struct yaml_node *path, const char *folder, struct diag *d)
{
	_cleanup_free_ char *full = file_below(folder, path->text);
	char *bytes;
	size_t len;
	int r;

	if (!full) {
		diag_no_memory(d);
		return NULL;
	}
	r = file_read(full, 4096, &bytes, &len);
	if (r < 0) {
		diag_add(d, path->at, path->text, NULL, "cannot be read: %s", strerror(-r));
		return NULL;
	}
	bytes = realloc(bytes, len + 1); /* one more was there, or it is NULL */
	if (!bytes) {
		diag_no_memory(d);
		return NULL;
	}
	bytes[len] = '\0';
	bytes[strcspn(bytes, "\r\n")] = '\0';
	return bytes;
}

static void login_load(const struct yaml_node *map, const char *folder, struct via *v,
		       struct diag *d)
{
	const struct yaml_node *user = yaml_get(map, "user"), *password = yaml_get(map, "password");
	const struct yaml_node *file = yaml_get(map, "password-file");

	if (password && file)
		diag_add(d, file->key->at, "password-file", "password or password-file",
			 "there is a password already");
	if (!user != !(password || file))
		diag_add(d, map->at, user ? "password" : "user", NULL,
			 "user and password go together");
	if (!user)
		return;
	if (via_is_header(v)) {
		diag_add(d, user->key->at, "user", NULL, "without effect for this type");
		return;
	}
	v->user = copy(user->text, d);
	if (password)
		v->password = copy(password->text, d);
	else if (file)
		v->password = password_read(file, folder, d);
	if (v->user && (!*v->user || strlen(v->user) > HTTP1_CONNECT_LOGIN_MAX_BYTES ||
			(v->type != VIA_SOCKS5 && strchr(v->user, ':'))))
		diag_add(d, user->at, user->text, "1 to 255 characters, for HTTP without ':'",
			 "no user");
	if (v->password &&
	    (!*v->password || strlen(v->password) > HTTP1_CONNECT_LOGIN_MAX_BYTES))
		diag_add(d, password ? password->at : file ? file->at : map->at, NULL,
			 "1 to 255 characters", "no password");
}

static void tls_load(const struct yaml_node *map, const char *folder, struct via *v,
		     struct diag *d)
{
	const struct yaml_node *tls = yaml_get(map, "tls"), *ca, *name, *verify;
	struct tls_settings s = { .role = TLS_CLIENT, .min_version = 0x0303, .verify = true };
	char ip[ADDR_TEXT_MAX], host[HOSTNAME_CAP];
	_cleanup_free_ char *path = NULL;
	struct tls_fault fault = { 0 };
	struct tls_profile *profile;
	int r;

	if (v->type != VIA_HTTPS) {
		if (tls)
			diag_add(d, tls->key->at, "tls", "this key with type: https",
				 "without effect for this type");
		return;
	}
	ca = tls ? yaml_get(tls, "ca") : NULL;
	name = tls ? yaml_get(tls, "name") : NULL;
	verify = tls ? yaml_get(tls, "verify") : NULL;
	if (name && !hostname_is_ip(span_str(name->text)) &&
	    hostname_parse(span_str(name->text), host) < 0)
		diag_add(d, name->at, name->text, "a name or an address", "neither of these");
	path = ca ? file_below(folder, ca->text) : NULL;
	if (ca && !path)
		diag_no_memory(d);
	s.ca = path;
	s.verify = !verify || verify->value;
	s.name = name ? name->text : v->host ? v->host : addr_format_ip(&v->address, ip);
	s.alpn = span_str("\10http/1.1");
	r = tls_profile_new(&s, v->name, &profile, &fault);
	if (r == -EINVAL)
		diag_add(d, ca ? ca->at : map->at, ca ? ca->text : NULL, NULL, "%s", fault.text);
	else if (r < 0)
		diag_no_memory(d);
	else
		v->tls = (struct layer){ .ops = &tls_layer_ops, .conf = profile };
}

static void dialer_load(const struct yaml_node *map, const char *folder, struct via *v,
			struct diag *d)
{
	const struct yaml_node *type = yaml_get(map, "type"), *address = yaml_get(map, "address");

	v->type = type ? (enum via_type)type->value : VIA_SOCKS5;
	if (address)
		endpoint_load(address, &v->address, &v->host, d);
	login_load(map, folder, v, d);
	if (type && address && (v->address.family || v->host))
		tls_load(map, folder, v, d);
}

/* Each may lead through another, and none through itself. */
static void chains_load(struct yaml_node *node, struct config *c, struct diag *d)
{
	size_t i = 0;

	for (struct yaml_node *n = node->child; n; n = n->next, i++) {
		const struct yaml_node *via = n->bad ? NULL : yaml_get(n, "via");

		if (via)
			c->dialers[i].via = dialer_find(c, via, d);
		if (c->dialers[i].via && via_is_header(c->dialers[i].via) && c->dialers[i].host)
			diag_add(d, via->at, via->text, "a dialer at ip:port",
				 "the one behind it is a name, and its header has no room for one");
	}
	i = 0;
	for (struct yaml_node *n = node->child; n; n = n->next, i++) {
		const struct via *v = &c->dialers[i];
		unsigned int hops = 0;

		for (; v && hops <= VIA_HOPS_MAX; v = v->via)
			hops++;
		if (hops > VIA_HOPS_MAX)
			diag_add(d, yaml_get(n, "via")->at, yaml_get(n, "via")->text, NULL,
				 "a circle, or more than %d dialers one behind the other",
				 VIA_HOPS_MAX);
	}
}

void dialers_load(struct yaml_node *node, const char *folder, struct config *c, struct diag *d)
{
	if (!node || !node->n)
		return;
	c->dialers = calloc(node->n, sizeof(*c->dialers));
	if (!c->dialers) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *n = node->child; n && !d->no_memory; n = n->next) {
		struct via *v = &c->dialers[c->n_dialers];

		v->name = copy(n->key->text, d);
		if (!v->name)
			return;
		c->n_dialers++;
		if (!n->bad)
			dialer_load(n, folder, v, d);
	}
	if (!d->no_memory)
		chains_load(node, c, d);
}

void dialers_free(struct config *c)
{
	for (size_t i = 0; i < c->n_dialers; i++) {
		struct via *v = &c->dialers[i];

		if (v->password)
			explicit_bzero(v->password, strlen(v->password));
		free(v->name);
		free(v->host);
		free(v->user);
		free(v->password);
		tls_profile_free((struct tls_profile *)(uintptr_t)v->tls.conf);
	}
	free(c->dialers);
}
