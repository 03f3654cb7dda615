/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A configuration goes through five steps, and each leaves what is wrong marked bad for the
 * next, so that one run says all there is to say and nothing twice: bytes to tree (yaml.c), tree
 * against table (schema.c), listeners (here), sets, rules.  Only when nobody complained is there
 * a configuration.  The tree dies here; what a configuration keeps, it owns.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "core/users.h"
#include "engine/config.h"
#include "engine/diag.h"
#include "engine/dialers.h"
#include "engine/file.h"
#include "engine/names.h"
#include "engine/proxy_config.h"
#include "engine/rules.h"
#include "engine/schema.h"
#include "engine/sets.h"
#include "engine/tls_config.h"
#include "engine/unique.h"
#include "engine/users_config.h"
#include "engine/yaml.h"

#define LISTENERS_MAX 1000
#define ADDRESSES_MAX 1000 /* of one listener */

const char *listener_mode_name(enum listener_mode m)
{
	switch (m) {
	case LISTENER_TPROXY:
		return "tproxy";
	case LISTENER_REDIRECT:
		return "redirect";
	case LISTENER_FIXED:
		return "fixed";
	case LISTENER_HTTP:
		return "http";
	case LISTENER_SOCKS:
		return "socks";
	case LISTENER_HTTPS:
		return "https";
	case LISTENER_PROXY_PROTOCOL:
		return "proxy-protocol";
	case LISTENER_MIXED:
		return "mixed";
	case LISTENER_DNS:
		return "dns";
	}
	return "?";
}

bool listener_mode_is_explicit(enum listener_mode m)
{
	switch (m) {
	case LISTENER_TPROXY:
	case LISTENER_REDIRECT:
	case LISTENER_FIXED:
	case LISTENER_PROXY_PROTOCOL:
	case LISTENER_DNS:
		return false;
	case LISTENER_HTTP:
	case LISTENER_SOCKS:
	case LISTENER_HTTPS:
	case LISTENER_MIXED:
		return true;
	}
	return false;
}

struct config *config_new(void)
{
	struct config *c = NEW0(struct config);

	if (!c)
		return NULL;
	c->policy = NEW0(struct policy);
	if (c->policy && schema_apply(NULL, c) == 0)
		return c;
	config_free(c);
	return NULL;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_listeners; i++) {
		free(c->listeners[i].name);
		free(c->listeners[i].addresses);
		free(c->listeners[i].to_name.name);
	}
	free(c->listeners);
	tls_entries_free(c);
	dialers_free(c);
	policy_free(c->policy);
	free(c->record_flows);
	firewall_config_done(&c->firewall);
	for (size_t i = 0; i < c->n_users; i++)
		users_free(c->users[i]);
	free(c->users);
	free(c->resolver.servers);
	free(c);
}

static void config_cleanup(struct config **c)
{
	config_free(*c);
}

/* Mode fixed must have `to`, mode proxy-protocol may, others have no use for it. */
static void listener_to(const struct yaml_node *map, struct listener_config *l, struct diag *d)
{
	const struct yaml_node *mode = yaml_get(map, "mode"), *to = NULL;

	for (const struct yaml_node *n = map->child; n; n = n->next)
		if (!strcmp(n->key->text, "to"))
			to = n;
	if (to && !to->bad)
		target_load(to, l, d);
	if (!mode)
		return;
	if (l->mode == LISTENER_FIXED && !to)
		diag_add(d, map->at, "to", "ip:port or name:port of the server",
			 "this key is missing for mode fixed");
	if (l->mode != LISTENER_FIXED && l->mode != LISTENER_PROXY_PROTOCOL && to)
		diag_add(d, to->key->at, "to", "this key with mode: fixed, proxy-protocol",
			 "without effect for mode %s", listener_mode_name(l->mode));
}

static void listener_addresses(struct yaml_node *values, struct listener_config *l, struct diag *d)
{
	size_t n = values && values->kind == YAML_LIST ? values->n : 1;

	if (!values)
		return;
	if (n > ADDRESSES_MAX) {
		diag_add(d, values->at, NULL, NULL, "more than %d addresses", ADDRESSES_MAX);
		return;
	}
	l->addresses = calloc(n, sizeof(*l->addresses));
	if (!l->addresses) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *a = yaml_first(values); a; a = yaml_next(values, a))
		addr_parse(a->text, &l->addresses[l->n_addresses++]);
}

static uint32_t listener_protocols(struct yaml_node *sniff)
{
	uint32_t mask = 0;

	if (!sniff)
		return 1u << PROTOCOL_TLS | 1u << PROTOCOL_HTTP;
	if (sniff->kind == YAML_SCALAR && sniff->value == SCHEMA_FALSE)
		return 0;
	for (struct yaml_node *n = yaml_first(sniff); n; n = yaml_next(sniff, n))
		mask |= 1u << n->value;
	return mask;
}

/* Only a transparent socket is told where a datagram was going; who asks for names does not need
 * that, and a header says it. */
static uint32_t listener_networks(struct yaml_node *network, const struct listener_config *l,
				  struct diag *d)
{
	uint32_t mask = 0;

	if (!network)
		return 1u << NETWORK_TCP | (l->mode == LISTENER_DNS ? 1u << NETWORK_UDP : 0);
	for (struct yaml_node *n = yaml_first(network); n; n = yaml_next(network, n)) {
		mask |= 1u << n->value;
		if (n->value == NETWORK_UDP && l->mode != LISTENER_TPROXY &&
		    l->mode != LISTENER_DNS && l->mode != LISTENER_PROXY_PROTOCOL)
			diag_add(d, n->at, n->text,
				 "tcp, or this word with mode: tproxy, dns or proxy-protocol",
				 "mode %s is for connections only", listener_mode_name(l->mode));
	}
	return mask;
}

/* What only an honest listener has, and only a transparent one can be honest: the SYN of any
 * other has met conntrack's translation, or the listener itself. */
static void listener_connect(const struct yaml_node *map, struct listener_config *l, struct diag *d)
{
	static const char *const needs[] = { "queue", "when-full" };
	const struct yaml_node *connect = yaml_get(map, "connect"), *n;

	l->honest = connect && connect->value;
	if (l->honest && l->mode != LISTENER_TPROXY)
		diag_add(d, connect->at, connect->text, "early, or this word with mode: tproxy",
			 "mode %s cannot hold a client's SYN", listener_mode_name(l->mode));
	if (l->honest && !(l->networks & 1u << NETWORK_TCP))
		diag_add(d, connect->at, connect->text, "early, or this word with network: tcp",
			 "datagrams do not connect");
	for (size_t i = 0; !l->honest && i < ARRAY_SIZE(needs); i++) {
		n = yaml_get(map, needs[i]);
		if (n)
			diag_add(d, n->at, needs[i], "this key with connect: honest",
				 "without effect for connect: early");
	}
	n = yaml_get(map, "queue");
	l->queue = n ? (uint16_t)n->value : l->n_addresses ? l->addresses[0].port : 0;
	n = yaml_get(map, "when-full");
	l->full_early = n && n->value;
}

/* What its clients speak is known. */
static void listener_dns(const struct yaml_node *map, struct listener_config *l, struct diag *d)
{
	const struct yaml_node *sniff = yaml_get(map, "sniff");

	l->protocols = 0;
	if (sniff)
		diag_add(d, sniff->key->at, "sniff", NULL, "without effect for mode %s",
			 listener_mode_name(l->mode));
}

/* Which name counts, and is it looked for? */
static void listener_target(const struct yaml_node *map, struct listener_config *l, struct diag *d)
{
	struct yaml_node *target = yaml_get(map, "target");

	for (struct yaml_node *n = yaml_first(target); n; n = yaml_next(target, n)) {
		if (n->value == PROTOCOL_UNKNOWN && target->kind == YAML_LIST && target->n > 1)
			diag_add(d, n->at, n->text, "sni, host", "this word stands alone");
		else if (n->value != PROTOCOL_UNKNOWN && !(l->protocols & 1u << n->value))
			diag_add(d, n->at, n->text, NULL,
				 "without effect where sniff does not look for %s",
				 protocol_name((enum protocol)n->value));
		else if (n->value != PROTOCOL_UNKNOWN)
			l->targets |= 1u << n->value;
	}
	if (target && !listener_mode_is_explicit(l->mode))
		diag_add(d, target->key->at, "target", NULL,
			 "without effect for mode %s: its clients ask for no server",
			 listener_mode_name(l->mode));
}

static void listener_users(const struct yaml_node *map, const struct config *c,
			   struct listener_config *l, struct diag *d)
{
	const struct yaml_node *users = yaml_get(map, "users");

	if (users && !listener_mode_is_explicit(l->mode))
		diag_add(d, users->key->at, "users", NULL,
			 "without effect for mode %s: its clients cannot be asked",
			 listener_mode_name(l->mode));
	else if (users)
		l->users = users_config_find(users, c, d);
}

/* The @number-th listener (from 1). */
static void listener_load(const struct yaml_node *map, size_t number, const struct config *c,
			  struct listener_config *l, struct diag *d)
{
	const struct yaml_node *mode = yaml_get(map, "mode"), *name = yaml_get(map, "name");

	l->mode = mode ? (enum listener_mode)mode->value : LISTENER_TPROXY;
	if (name)
		l->name = strdup(name->text);
	else if (asprintf(&l->name, "%s-%zu", listener_mode_name(l->mode), number) < 0)
		l->name = NULL;
	if (!l->name)
		diag_no_memory(d);
	l->networks = listener_networks(yaml_get(map, "network"), l, d);
	l->protocols = listener_protocols(yaml_get(map, "sniff"));
	if (l->mode == LISTENER_DNS)
		listener_dns(map, l, d);
	listener_addresses(yaml_get(map, "address"), l, d);
	listener_to(map, l, d);
	listener_connect(map, l, d);
	proxy_config_load(map, l, d);
	listener_users(map, c, l, d);
	listener_target(map, l, d);
	listener_tls_load(map, c, l, d);
}

/* An address to listen on, and where it is written. */
struct bound {
	struct addr addr;
	const struct yaml_node *node;
};

/* Such that those on one port are together, the unspecified address first. */
static int bound_compare(const void *a, const void *b)
{
	const struct bound *x = a, *y = b;
	int r;

	if (x->addr.family != y->addr.family)
		return x->addr.family - y->addr.family;
	if (x->addr.port != y->addr.port)
		return x->addr.port - y->addr.port;
	r = memcmp(x->addr.ip, y->addr.ip, sizeof(x->addr.ip));
	if (r)
		return r;
	if (x->addr.scope_id != y->addr.scope_id)
		return x->addr.scope_id < y->addr.scope_id ? -1 : 1;
	if (x->node->at.line != y->node->at.line)
		return x->node->at.line < y->node->at.line ? -1 : 1;
	return x->node->at.column < y->node->at.column ? -1 : 1;
}

/* Two sockets cannot have one address, nor one port when either has all addresses. */
static void bounds_check(struct bound *list, size_t n, struct diag *d)
{
	if (n)
		qsort(list, n, sizeof(*list), bound_compare);
	for (size_t i = 1, first = 0, port = 0; i < n; i++) {
		const struct addr *a = &list[i].addr;
		bool same_port =
			a->family == list[port].addr.family && a->port == list[port].addr.port;

		if (!same_port)
			port = i;
		if (!same_port || !addr_eq(a, &list[first].addr))
			first = i;
		if (first != i)
			diag_add(d, list[i].node->at, list[i].node->text, NULL,
				 "this address is listened on already (line %u)",
				 list[first].node->at.line);
		else if (port != i && addr_is_unspecified(&list[port].addr))
			diag_add(d, list[i].node->at, list[i].node->text, NULL,
				 "all addresses of this port are listened on already (line %u)",
				 list[port].node->at.line);
	}
}

static void addresses_check(struct yaml_node *listeners, const struct config *c, struct diag *d)
{
	struct bound *list;
	size_t n = 0;

	for (size_t i = 0; i < c->n_listeners; i++)
		n += c->listeners[i].n_addresses;
	list = calloc(n + 1, sizeof(*list));
	if (!list) {
		diag_no_memory(d);
		return;
	}
	n = 0;
	for (struct yaml_node *l = yaml_first(listeners); l; l = yaml_next(listeners, l)) {
		struct yaml_node *values = yaml_get(l, "address");

		if (values && values->kind == YAML_LIST && values->n > ADDRESSES_MAX)
			continue;
		for (struct yaml_node *a = yaml_first(values); a; a = yaml_next(values, a)) {
			addr_parse(a->text, &list[n].addr);
			list[n++].node = a;
		}
	}
	bounds_check(list, n, d);
	free(list);
}

static void listener_names_check(struct yaml_node *listeners, const struct config *c,
				 struct diag *d)
{
	struct unique *names = calloc(c->n_listeners + 1, sizeof(*names));
	size_t n = 0;

	if (!names) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *l = yaml_first(listeners); l; l = yaml_next(listeners, l)) {
		const struct yaml_node *name = yaml_get(l, "name");

		names[n] = (struct unique){ .text = c->listeners[n].name };
		names[n++].at = name ? name->at : l->at;
	}
	unique_check(names, n, "another listener has this name", d);
	free(names);
}

/* One reader for each queue. */
static void queues_check(struct yaml_node *listeners, const struct config *c, struct diag *d)
{
	size_t n = 0;

	for (struct yaml_node *l = yaml_first(listeners); l; l = yaml_next(listeners, l), n++) {
		const struct yaml_node *at = yaml_get(l, "queue");
		const struct listener_config *mine = &c->listeners[n];

		for (size_t i = 0; mine->honest && i < n; i++)
			if (c->listeners[i].honest && c->listeners[i].queue == mine->queue)
				diag_add(d, at ? at->at : l->at, "queue", NULL,
					 "listener '%s' has queue %u already", c->listeners[i].name,
					 mine->queue);
	}
}

static void listeners_load(struct yaml_node *listeners, struct config *c, struct diag *d)
{
	size_t number = 0;

	if (!listeners || !listeners->n)
		return;
	if (listeners->n > LISTENERS_MAX) {
		diag_add(d, listeners->at, NULL, NULL, "more than %d listeners", LISTENERS_MAX);
		return;
	}
	c->listeners = calloc(listeners->n, sizeof(*c->listeners));
	if (!c->listeners) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *l = listeners->child; l; l = l->next) {
		number++;
		if (!l->bad)
			listener_load(l, number, c, &c->listeners[c->n_listeners++], d);
	}
	if (d->no_memory)
		return;
	listener_names_check(listeners, c, d);
	addresses_check(listeners, c, d);
	queues_check(listeners, c, d);
}

/* Without any listener there is nothing to do. */
static void listeners_required(const struct yaml_node *root, struct diag *d)
{
	const struct yaml_node *n = root->kind == YAML_MAP ? root->child : NULL;

	if (root->bad)
		return;
	while (n && strcmp(n->key->text, "listeners"))
		n = n->next;
	if (n && (n->bad || n->n))
		return;
	diag_add(d, n ? n->at : root->at, "listeners", "a list of mappings",
		 "nothing to listen on");
}

/* The path of the records starts where the configuration is. */
static void record_path(struct config *c, const char *folder, struct diag *d)
{
	char *path;

	if (!c->record_flows)
		return;
	path = file_below(folder, c->record_flows);
	free(c->record_flows);
	c->record_flows = path;
	if (!path)
		diag_no_memory(d);
}

static void config_fill(struct yaml_node *root, const char *folder, bool needs_listener,
			struct config *c, struct diag *d)
{
	struct sets sets;

	schema_check(root, d);
	if (needs_listener)
		listeners_required(root, d);
	if (root->bad || d->no_memory)
		return;
	if (schema_apply(root, c) < 0) {
		diag_no_memory(d);
		return;
	}
	record_path(c, folder, d);
	resolver_servers_load(yaml_get(yaml_get(root, "resolver"), "servers"), &c->resolver, d);
	users_config_load(yaml_get(root, "users"), folder, c, d);
	if (!d->no_memory)
		tls_entries_load(yaml_get(root, "tls"), folder, c, d);
	if (!d->no_memory)
		dialers_load(yaml_get(root, "dialers"), folder, c, d);
	if (!d->no_memory)
		listeners_load(yaml_get(root, "listeners"), c, d);
	if (d->no_memory)
		return;
	sets_load(yaml_get(root, "sets"), folder, d, &sets);
	if (!d->no_memory)
		proxy_config_trust(yaml_get(root, "listeners"), &sets, c);
	if (!d->no_memory)
		rules_compile(yaml_get(root, "rules"), c, &sets, d, c->policy);
	if (!d->no_memory)
		firewall_compile(yaml_get(root, "firewall"), c, &sets, d);
	/* Not when the rule that would use it may be one of those with an error. */
	if (!diag_failed(d))
		sets_check_used(&sets);
	sets_done(&sets);
}

int config_parse(const char *name, const char *folder, const char *bytes, size_t len,
		 bool needs_listener, FILE *errors, struct config **ret)
{
	struct diag d = { .path = name };
	struct yaml yaml = { 0 };
	_cleanup_(config_cleanup) struct config *c = config_new();
	int r;

	if (!c) {
		fprintf(errors, "%s: out of memory\n", name);
		return -ENOMEM;
	}
	if (yaml_parse(&d, bytes, len, &yaml) == 0)
		config_fill(yaml.root, folder, needs_listener, c, &d);
	yaml_done(&yaml);
	r = d.no_memory ? -ENOMEM : diag_failed(&d) ? -EINVAL : 0;
	diag_print(&d, errors);
	if (r == 0)
		*ret = TAKE_PTR(c);
	return r;
}

int config_load(const char *path, FILE *errors, struct config **ret)
{
	return config_load_part(path, true, errors, ret);
}

int config_load_part(const char *path, bool needs_listener, FILE *errors, struct config **ret)
{
	_cleanup_free_ char *folder = file_folder(path);
	_cleanup_free_ char *bytes = NULL;
	size_t len;
	int r;

	if (!folder) {
		fprintf(errors, "%s: out of memory\n", path);
		return -ENOMEM;
	}
	r = file_read(path, YAML_MAX_BYTES, &bytes, &len);
	if (r < 0) {
		fprintf(errors, "%s: cannot be read: %s\n", path, strerror(-r));
		return r;
	}
	return config_parse(path, folder, bytes, len, needs_listener, errors, ret);
}
