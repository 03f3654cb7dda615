/* SPDX-License-Identifier: Apache-2.0 */
/* From the checked section `firewall` to what the generator of the rules works on. */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/config.h"
#include "engine/firewall_config.h"
#include "engine/words.h"

#define ENTRIES_MAX 1000
#define INTERFACE_MAX_CHARS 15 /* IFNAMSIZ - 1 */
#define PRIORITY_MIN (-199)    /* behind connection tracking, whose word the rules need */
#define PRIORITY_MAX 200
#define PORT_DNS 53
#define TABLES_OF_KERNEL_MIN 253 /* RT_TABLE_DEFAULT; then main, local */
#define TABLES_OF_KERNEL_MAX 255

struct reader {
	struct config *config;
	struct sets *sets;
	struct diag *diag;
};

static void strings_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static void matches_free(struct firewall_match *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		strings_free(list[i].interfaces, list[i].n_interfaces);
		strings_free(list[i].cgroups, list[i].n_cgroups);
		free(list[i].ports);
		free(list[i].users);
	}
	free(list);
}

void firewall_config_done(struct firewall_config *f)
{
	matches_free(f->intercept, f->n_intercept);
	matches_free(f->exempt, f->n_exempt);
	free(f->table);
	*f = (struct firewall_config){ 0 };
}

static size_t values_count(const struct yaml_node *values)
{
	return values && values->kind == YAML_LIST ? values->n : 1;
}

static void *array_of(struct reader *r, const struct yaml_node *values, size_t size)
{
	void *p = values ? calloc(values_count(values), size) : NULL;

	if (values && !p)
		diag_no_memory(r->diag);
	return p;
}

static uint32_t mask_of(struct yaml_node *values, uint32_t otherwise)
{
	uint32_t mask = 0;

	for (struct yaml_node *n = yaml_first(values); n; n = yaml_next(values, n))
		mask |= 1u << n->value;
	return mask ? mask : otherwise;
}

/* What nft would take for something else, or the kernel for no name. */
static bool word_is_safe(const char *text, const char *forbidden)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr(forbidden, *p))
			return false;
	return *text != '\0';
}

static bool interface_ok(const char *text)
{
	const char *star = strchr(text, '*');

	return word_is_safe(text, "\"\\/:") && strlen(text) <= INTERFACE_MAX_CHARS &&
	       (!star || (star != text && !star[1]));
}

static bool cgroup_ok(const char *text)
{
	return word_is_safe(text, "\"") && strcmp(text, "/") != 0 && !strstr(text, "..");
}

static void strings_read(struct reader *r, struct yaml_node *values, bool (*ok)(const char *),
			 const char *what, const char *accepted, char ***ret, size_t *ret_n)
{
	*ret = array_of(r, values, sizeof(**ret));
	for (struct yaml_node *n = yaml_first(values); n && *ret; n = yaml_next(values, n)) {
		const char *text = n->text + (ok == cgroup_ok && n->text[0] == '/');

		if (!ok(text)) {
			diag_add(r->diag, n->at, n->text, accepted, "no %s", what);
			continue;
		}
		(*ret)[*ret_n] = strdup(text);
		if (!(*ret)[*ret_n]) {
			diag_no_memory(r->diag);
			return;
		}
		++*ret_n;
	}
}

static int user_parse(const char *text, uint32_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	const struct passwd *user;
	unsigned long long n;

	if (digits && !text[digits] && digits <= 10) {
		n = strtoull(text, NULL, 10);
		if (n >= UINT32_MAX)
			return -EINVAL;
		*ret = (uint32_t)n;
		return 0;
	}
	user = getpwnam(text);
	if (!user)
		return -ENOENT;
	*ret = user->pw_uid;
	return 0;
}

static void users_read(struct reader *r, struct yaml_node *values, struct firewall_match *m)
{
	m->users = array_of(r, values, sizeof(*m->users));
	for (struct yaml_node *n = yaml_first(values); n && m->users; n = yaml_next(values, n)) {
		if (user_parse(n->text, &m->users[m->n_users]) < 0)
			diag_add(r->diag, n->at, n->text, "name or number of a user",
				 "this host has no such user");
		else
			m->n_users++;
	}
}

static void ports_read(struct reader *r, struct yaml_node *values, struct firewall_match *m)
{
	m->ports = array_of(r, values, sizeof(*m->ports));
	for (struct yaml_node *n = yaml_first(values); n && m->ports; n = yaml_next(values, n))
		m->ports[m->n_ports++] =
			(struct port_range){ (uint16_t)(n->value >> 16), (uint16_t)n->value };
}

static const struct netset *nets_read(struct reader *r, struct yaml_node *values)
{
	struct set in_place;
	const struct set *set =
		values ? set_of(r->sets, values, SET_NETS, r->config->policy, &in_place) : NULL;

	return set ? set->nets : NULL;
}

static void match_read(struct reader *r, const struct yaml_node *map, struct firewall_match *m)
{
	strings_read(r, yaml_get(map, "interface"), interface_ok, "name of an interface",
		     "1 to 15 characters, the last may be a '*': eth0, wlan*", &m->interfaces,
		     &m->n_interfaces);
	strings_read(r, yaml_get(map, "cgroup"), cgroup_ok, "path of a cgroup",
		     "a path below the root of cgroup v2, as system.slice/a.service", &m->cgroups,
		     &m->n_cgroups);
	users_read(r, yaml_get(map, "user"), m);
	ports_read(r, yaml_get(map, "port"), m);
	m->source = nets_read(r, yaml_get(map, "source"));
	m->destination = nets_read(r, yaml_get(map, "destination"));
}

/* Only of what this host sends is it known who sent it. */
static void traffic_read(struct reader *r, const struct yaml_node *map, uint32_t otherwise,
			 struct firewall_match *m)
{
	struct yaml_node *traffic = yaml_get(map, "traffic");
	bool who = yaml_get(map, "user") || yaml_get(map, "cgroup");

	m->traffic = mask_of(traffic, who ? otherwise & FIREWALL_FROM_HERE : otherwise);
	if (!traffic && !m->traffic)
		m->traffic = 1u << FIREWALL_LOCAL;
	for (struct yaml_node *n = yaml_first(traffic); n && who; n = yaml_next(traffic, n))
		if (1u << n->value & FIREWALL_FROM_ELSEWHERE)
			diag_add(r->diag, n->at, n->text, "local, loopback",
				 "user and cgroup are known only of what this host sends");
}

static uint32_t traffic_of(const struct listener_config *l)
{
	return l->mode == LISTENER_TPROXY ? 1u << FIREWALL_ROUTED : 1u << FIREWALL_LOCAL;
}

static bool listener_find(struct reader *r, const struct yaml_node *name, size_t *ret)
{
	const struct config *c = r->config;
	struct words words = { .wanted = name->text };
	char perhaps[96];

	for (size_t i = 0; i < c->n_listeners; i++) {
		const struct listener_config *l = &c->listeners[i];

		if (!strcmp(l->name, name->text)) {
			*ret = i;
			if (listener_mode_intercepts(l->mode) || l->mode == LISTENER_DNS)
				return true;
			diag_add(r->diag, name->at, name->text,
				 "a listener of mode tproxy, redirect, dns",
				 "mode %s does not learn where intercepted traffic was going",
				 listener_mode_name(l->mode));
			return false;
		}
		words_add(&words, l->name);
	}
	diag_add(r->diag, name->at, name->text, words.len ? words.text : NULL,
		 "there is no such listener%s", words_perhaps(&words, perhaps));
	return false;
}

/* Nothing but queries can be answered. */
static void port_of_dns(struct reader *r, struct firewall_match *m)
{
	m->ports = calloc(1, sizeof(*m->ports));
	if (!m->ports) {
		diag_no_memory(r->diag);
		return;
	}
	m->ports[m->n_ports++] = (struct port_range){ PORT_DNS, PORT_DNS };
}

static void intercept_read(struct reader *r, const struct yaml_node *map, struct firewall_match *m)
{
	const struct yaml_node *name = yaml_get(map, "listener");
	struct yaml_node *network = yaml_get(map, "network");
	const struct listener_config *l;

	if (!name || !listener_find(r, name, &m->listener))
		return;
	l = &r->config->listeners[m->listener];
	match_read(r, map, m);
	traffic_read(r, map, traffic_of(l), m);
	if (l->mode == LISTENER_DNS && !yaml_get(map, "port"))
		port_of_dns(r, m);
	r->config->firewall.inbound |= m->traffic & 1u << FIREWALL_INBOUND;
	m->networks = mask_of(network, l->networks);
	for (struct yaml_node *n = yaml_first(network); n; n = yaml_next(network, n))
		if (!(l->networks & 1u << n->value))
			diag_add(r->diag, n->at, n->text, NULL,
				 "listener '%s' does not listen for this", l->name);
}

static void exempt_read(struct reader *r, const struct yaml_node *map, struct firewall_match *m)
{
	match_read(r, map, m);
	traffic_read(r, map, FIREWALL_FROM_ELSEWHERE | FIREWALL_FROM_HERE, m);
	m->networks = mask_of(yaml_get(map, "network"), 1u << NETWORK_TCP | 1u << NETWORK_UDP);
	if (!map->n)
		diag_add(r->diag, map->at, NULL, NULL,
			 "this mapping holds for everything, so nothing would be intercepted");
}

static struct firewall_match *matches_read(struct reader *r, struct yaml_node *list,
					   void (*read)(struct reader *, const struct yaml_node *,
							struct firewall_match *),
					   size_t *ret_n)
{
	struct firewall_match *matches;

	if (list->n > ENTRIES_MAX) {
		diag_add(r->diag, list->at, NULL, NULL, "more than %d entries", ENTRIES_MAX);
		return NULL;
	}
	matches = calloc(list->n + 1, sizeof(*matches));
	if (!matches) {
		diag_no_memory(r->diag);
		return NULL;
	}
	for (struct yaml_node *n = yaml_first(list); n; n = yaml_next(list, n))
		read(r, n, &matches[(*ret_n)++]);
	return matches;
}

/* What goes without saying. */
static void intercept_default(struct reader *r, struct firewall_config *f)
{
	const struct config *c = r->config;

	f->intercept = calloc(c->n_listeners + 1, sizeof(*f->intercept));
	if (!f->intercept) {
		diag_no_memory(r->diag);
		return;
	}
	for (size_t i = 0; i < c->n_listeners; i++)
		if (listener_mode_intercepts(c->listeners[i].mode))
			f->intercept[f->n_intercept++] = (struct firewall_match){
				.listener = i,
				.traffic = traffic_of(&c->listeners[i]),
				.networks = c->listeners[i].networks,
			};
}

static void priority_read(struct reader *r, const struct yaml_node *node, struct firewall_config *f)
{
	char *end;
	long n;

	f->priority = -150; /* "mangle" */
	if (!node)
		return;
	n = strtol(node->text, &end, 10);
	if (*end || end == node->text || strspn(node->text, "-0123456789") != strlen(node->text) ||
	    n < PRIORITY_MIN || n > PRIORITY_MAX)
		diag_add(r->diag, node->at, node->text, "a number from -199 to 200",
			 "no priority of a chain");
	else
		f->priority = (int)n;
}

static void numbers_check(struct reader *r, const struct yaml_node *node)
{
	const struct firewall_config *f = &r->config->firewall;
	const struct yaml_node *divert = yaml_get(node, "divert-mark");
	const struct yaml_node *mask = yaml_get(node, "mask"), *mark = yaml_get(node, "mark");
	const struct yaml_node *table = yaml_get(node, "table");
	const struct yaml_node *at = divert ? divert : mask ? mask : mark;

	if (table && strspn(table->text, "-.0123456789") > 0)
		diag_add(r->diag, table->at, table->text, NULL, "nft wants a letter in front");
	if (f->route_table >= TABLES_OF_KERNEL_MIN && f->route_table <= TABLES_OF_KERNEL_MAX)
		diag_add(r->diag, yaml_get(node, "route-table")->at,
			 yaml_get(node, "route-table")->text, "a table of nobody else's",
			 "one of the kernel's own tables: default, main, local");
	if (!at)
		return;
	if (f->divert_mark & ~f->mask)
		diag_add(r->diag, at->at, at->text, NULL,
			 "firewall.divert-mark %#x has bits outside of firewall.mask %#x",
			 f->divert_mark, f->mask);
	else if ((r->config->mark & f->mask) == f->divert_mark)
		diag_add(
			r->diag, at->at, at->text, NULL,
			"within firewall.mask, firewall.mark and firewall.divert-mark are the same");
}

void firewall_compile(struct yaml_node *node, struct config *c, struct sets *sets, struct diag *d)
{
	struct reader r = { .config = c, .sets = sets, .diag = d };
	struct yaml_node *intercept = yaml_get(node, "intercept");
	struct yaml_node *exempt = yaml_get(node, "exempt");
	struct firewall_config *f = &c->firewall;

	priority_read(&r, yaml_get(node, "priority"), f);
	numbers_check(&r, node);
	if (intercept)
		f->intercept = matches_read(&r, intercept, intercept_read, &f->n_intercept);
	else
		intercept_default(&r, f);
	if (exempt)
		f->exempt = matches_read(&r, exempt, exempt_read, &f->n_exempt);
}
