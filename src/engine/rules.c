/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a checked document to rules.  Also here: what is no single wrong value, but cannot be
 * meant: a rule that never matches, a key without effect.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/dialers.h"
#include "engine/rules.h"
#include "engine/unique.h"
#include "engine/words.h"

#define RULES_MAX 10000
#define PORT_DNS 53

struct compiler {
	const struct config *config;
	struct sets *sets;
	struct diag *diag;
	struct policy *policy;
	const char *catch_all; /* name of a rule that matches everything */
	bool listeners_known;  /* nothing is wrong with them */
};

static void *array_new(struct compiler *k, size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		diag_no_memory(k->diag);
	return p;
}

static uint32_t mask_of(struct yaml_node *values)
{
	uint32_t mask = 0;

	for (struct yaml_node *n = yaml_first(values); n; n = yaml_next(values, n))
		mask |= 1u << n->value;
	return mask;
}

static size_t values_count(const struct yaml_node *values)
{
	return values->kind == YAML_LIST ? values->n : 1;
}

static void ports_compile(struct compiler *k, struct yaml_node *values, struct port_range **ret,
			  size_t *ret_n)
{
	if (!values)
		return;
	*ret = array_new(k, values_count(values), sizeof(**ret));
	for (struct yaml_node *n = yaml_first(values); n && *ret; n = yaml_next(values, n))
		(*ret)[(*ret_n)++] =
			(struct port_range){ (uint16_t)(n->value >> 16), (uint16_t)n->value };
}

static void listener_refuse(struct compiler *k, const struct yaml_node *n)
{
	struct words words = { .wanted = n->text };
	char perhaps[96];

	for (size_t i = 0; i < k->config->n_listeners; i++)
		words_add(&words, k->config->listeners[i].name);
	diag_add(k->diag, n->at, n->text, words.len ? words.text : NULL,
		 "there is no such listener%s", words_perhaps(&words, perhaps));
}

static void listeners_compile(struct compiler *k, struct yaml_node *values, struct condition *c)
{
	if (!values)
		return;
	c->listeners = array_new(k, values_count(values), sizeof(*c->listeners));
	for (struct yaml_node *n = yaml_first(values); n && c->listeners;
	     n = yaml_next(values, n)) {
		size_t i = 0;

		while (i < k->config->n_listeners && strcmp(k->config->listeners[i].name, n->text))
			i++;
		if (i < k->config->n_listeners)
			c->listeners[c->n_listeners++] = (uint16_t)i;
		else
			listener_refuse(k, n);
	}
}

static const struct netset *nets_compile(struct compiler *k, struct yaml_node *values)
{
	struct set in_place;
	const struct set *set =
		values ? set_of(k->sets, values, SET_NETS, k->policy, &in_place) : NULL;

	return set ? set->nets : NULL;
}

static const struct nameset *names_compile(struct compiler *k, struct yaml_node *values)
{
	struct set in_place;
	const struct set *set =
		values ? set_of(k->sets, values, SET_NAMES, k->policy, &in_place) : NULL;

	return set ? set->names : NULL;
}

static void users_compile(struct compiler *k, struct yaml_node *values, struct condition *c)
{
	if (!values)
		return;
	c->users = array_new(k, values_count(values), sizeof(*c->users));
	for (struct yaml_node *n = yaml_first(values); n && c->users; n = yaml_next(values, n)) {
		c->users[c->n_users] = strdup(n->text);
		if (c->users[c->n_users])
			c->n_users++;
		else
			diag_no_memory(k->diag);
	}
}

static void condition_compile(struct compiler *k, const struct yaml_node *map, struct condition *c)
{
	c->source = nets_compile(k, yaml_get(map, "source"));
	c->destination = nets_compile(k, yaml_get(map, "destination"));
	c->domain = names_compile(k, yaml_get(map, "domain"));
	ports_compile(k, yaml_get(map, "port"), &c->ports, &c->n_ports);
	ports_compile(k, yaml_get(map, "source-port"), &c->source_ports, &c->n_source_ports);
	listeners_compile(k, yaml_get(map, "listener"), c);
	users_compile(k, yaml_get(map, "user"), c);
	if (yaml_get(map, "mismatch"))
		c->mismatch = yaml_get(map, "mismatch")->value ? ASKED_TRUE : ASKED_FALSE;
	c->networks = mask_of(yaml_get(map, "network"));
	c->protocols = mask_of(yaml_get(map, "protocol"));
}

/* One `not`: a mapping or a list of mappings. */
static void nots_compile(struct compiler *k, struct yaml_node *values, struct rule *rule)
{
	struct condition * not ;

	if (!values)
		return;
	not = reallocarray(rule->not, rule->n_not + values_count(values), sizeof(*not ));
	if (!not ) {
		diag_no_memory(k->diag);
		return;
	}
	rule->not = not ;
	for (struct yaml_node *n = yaml_first(values); n; n = yaml_next(values, n)) {
		not = &rule->not [rule->n_not++];
		*not = (struct condition){ 0 };
		condition_compile(k, n, not );
		if (!n->n)
			diag_add(k->diag, n->at, NULL, NULL,
				 "this mapping holds for everything, so the rule never matches");
	}
}

static bool asks_listener(const struct condition *c, size_t listener)
{
	for (size_t n = 0; n < c->n_listeners; n++)
		if (c->listeners[n] == listener)
			return true;
	return !c->n_listeners;
}

/* What the listeners that @c lets pass look for. */
static uint32_t protocols_sniffed(const struct config *config, const struct condition *c)
{
	uint32_t mask = 0;

	for (size_t i = 0; i < config->n_listeners; i++)
		if (asks_listener(c, i))
			mask |= config->listeners[i].protocols;
	return mask;
}

/* Do any of them dial a name, or are told one? */
static bool names_dialled(const struct config *config, const struct condition *c)
{
	for (size_t i = 0; i < config->n_listeners; i++)
		if (asks_listener(c, i) &&
		    (config->listeners[i].to_name.name ||
		     listener_mode_is_explicit(config->listeners[i].mode) ||
		     config->listeners[i].mode == LISTENER_DNS || config->listeners[i].proxy))
			return true;
	return false;
}

/* May answers of name servers pass, so that flows may have a name without saying it? */
static bool names_learnt(const struct config *config)
{
	for (size_t i = 0; i < config->n_listeners; i++) {
		const struct listener_config *l = &config->listeners[i];

		if (l->mode != LISTENER_FIXED || l->to.port == PORT_DNS ||
		    l->to_name.port == PORT_DNS)
			return true;
	}
	return false;
}

/* A question to which no listener can know the answer. */
static void sniff_check(struct compiler *k, const struct yaml_node *match,
			const struct condition *c)
{
	const struct yaml_node *domain = yaml_get(match, "domain");
	const struct yaml_node *protocol = yaml_get(match, "protocol");
	uint32_t sniffed = protocols_sniffed(k->config, c);

	if (!k->listeners_known)
		return;
	if (protocol && !(sniffed & c->protocols))
		diag_add(k->diag, protocol->key->at, protocol->key->text, NULL,
			 "the rule never matches: its listeners do not sniff for this");
	else if (domain && !sniffed && !names_dialled(k->config, c) && !names_learnt(k->config))
		diag_add(k->diag, domain->key->at, domain->key->text, NULL,
			 "the rule never matches: its listeners do not sniff");
}

/* A user, where nobody logs in. */
static void user_check(struct compiler *k, const struct yaml_node *match, const struct condition *c)
{
	const struct yaml_node *user = yaml_get(match, "user");

	if (!user || !k->listeners_known)
		return;
	for (size_t i = 0; i < k->config->n_listeners; i++)
		if (asks_listener(c, i) && k->config->listeners[i].users)
			return;
	diag_add(k->diag, user->key->at, user->key->text, NULL,
		 "the rule never matches: its listeners have no users");
}

/* What only clients of SOCKS ask for, and no proxy does for us. */
static void bind_check(struct compiler *k, const struct yaml_node *map, const struct rule *rule)
{
	const struct yaml_node *bind = yaml_get(map, "bind");

	if (!rule->plan.bind || !k->listeners_known)
		return;
	if (rule->plan.via)
		diag_add(k->diag, bind->key->at, "bind", NULL, "without effect where there is via");
	for (size_t i = 0; i < k->config->n_listeners; i++)
		if (asks_listener(&rule->match, i) &&
		    (k->config->listeners[i].mode == LISTENER_SOCKS ||
		     k->config->listeners[i].mode == LISTENER_MIXED))
			return;
	diag_add(k->diag, bind->key->at, "bind", NULL,
		 "without effect: the rule's listeners do not speak SOCKS");
}

static void effect_check(struct compiler *k, const struct yaml_node *map, const struct rule *rule)
{
	static const char *const keys[] = { "source",	      "strict", "offload",
					    "proxy-protocol", "via",	"bind" };
	const struct yaml_node *strict = yaml_get(map, "strict");

	if (!yaml_get(map, "action"))
		return;
	if (rule->verdict == VERDICT_ACCEPT) {
		if (rule->plan.strict && rule->plan.source == SOURCE_OWN)
			diag_add(k->diag, strict->key->at, "strict",
				 "source: keep, source: keep-address",
				 "without effect where the source is own");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct yaml_node *n = yaml_get(map, keys[i]);

		if (n)
			diag_add(k->diag, n->key->at, keys[i], "this key with action: accept",
				 "without effect where the action is %s",
				 verdict_name(rule->verdict));
	}
}

/* Is there such a key, right or wrong, that asks something? */
static bool asks(const struct yaml_node *map, const char *key)
{
	for (const struct yaml_node *n = map->child; n; n = n->next)
		if (!strcmp(n->key->text, key))
			return n->n || n->kind == YAML_SCALAR;
	return false;
}

static bool value_of(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = yaml_get(map, key);

	return n && n->value;
}

static void rule_compile(struct compiler *k, const struct yaml_node *map, struct rule *rule,
			 bool disabled)
{
	const struct yaml_node *match = yaml_get(map, "match"), *name = yaml_get(map, "name");
	const struct yaml_node *action = yaml_get(map, "action");
	const struct yaml_node *source = yaml_get(map, "source");
	const struct yaml_node *offload = yaml_get(map, "offload");
	const struct yaml_node *header = yaml_get(map, "proxy-protocol");

	rule->name = strdup(name ? name->text : "");
	if (!rule->name)
		diag_no_memory(k->diag);
	rule->verdict = action ? (enum verdict)action->value : VERDICT_DENY;
	rule->plan.source = source ? (enum source)source->value : SOURCE_OWN;
	rule->plan.offload = offload ? (enum offload)offload->value : OFFLOAD_AUTO;
	rule->plan.strict = value_of(map, "strict");
	rule->plan.proxy_header = header ? (uint8_t)header->value : 0;
	rule->plan.bind = value_of(map, "bind");
	if (yaml_get(map, "via"))
		rule->plan.via = dialer_find(k->config, yaml_get(map, "via"), k->diag);
	if (match) {
		condition_compile(k, match, &rule->match);
		nots_compile(k, yaml_get(match, "not"), rule);
		sniff_check(k, match, &rule->match);
		user_check(k, match, &rule->match);
	}
	nots_compile(k, yaml_get(map, "not"), rule);
	effect_check(k, map, rule);
	bind_check(k, map, rule);
	if (disabled)
		return;
	if (k->catch_all)
		diag_add(k->diag, name ? name->at : map->at, name ? name->text : NULL, NULL,
			 "this rule never matches, rule '%s' above matches everything",
			 k->catch_all);
	else if (name && !asks(map, "match") && !asks(map, "not"))
		k->catch_all = name->text;
}

static void names_check(struct compiler *k, const struct yaml_node *rules)
{
	struct unique *names = array_new(k, rules->n, sizeof(*names));
	size_t n = 0;

	for (struct yaml_node *r = rules->child; r && names; r = r->next) {
		const struct yaml_node *name = r->bad ? NULL : yaml_get(r, "name");

		if (name)
			names[n++] = (struct unique){ .text = name->text, .at = name->at };
	}
	if (names)
		unique_check(names, n, "another rule has this name", k->diag);
	free(names);
}

void rules_compile(struct yaml_node *node, const struct config *c, struct sets *sets,
		   struct diag *d, struct policy *p)
{
	struct compiler k = { .config = c,
			      .sets = sets,
			      .diag = d,
			      .policy = p,
			      .listeners_known = !diag_failed(d) };

	if (!node || !node->n)
		return;
	if (node->n > RULES_MAX) {
		diag_add(d, node->at, NULL, NULL, "more than %d rules", RULES_MAX);
		return;
	}
	p->rules = array_new(&k, node->n, sizeof(*p->rules));
	if (!p->rules)
		return;
	for (struct yaml_node *n = yaml_first(node); n; n = yaml_next(node, n)) {
		bool disabled = value_of(n, "disabled");

		/* A disabled rule is compiled for its errors, and the next takes its place. */
		rule_done(&p->rules[p->n_rules]);
		rule_compile(&k, n, &p->rules[p->n_rules], disabled);
		if (!disabled)
			p->n_rules++;
	}
	if (p->n_rules < node->n)
		rule_done(&p->rules[p->n_rules]);
	names_check(&k, node);
}
