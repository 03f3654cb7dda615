/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One walk over the document with the path so far; each key is looked up in the table by path
 * and its value held against the row.  The walk never goes deeper than the table.  A wrong value
 * is said and marked bad, so that nobody after us says it again.  What needs more than one value
 * to be judged (two listeners on one address, a set that is not there) is not done here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/units.h"
#include "engine/schema.h"
#include "engine/unique.h"

#define NAME_MAX_CHARS 64

/* The last word of a path. */
static const char *path_leaf(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot ? dot + 1 : path;
}

/* Is @path directly below @prefix ("" is the top)? */
static bool path_below(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);

	if (len && (strncmp(path, prefix, len) || path[len++] != '.'))
		return false;
	return !strchr(path + len, '.');
}

/* A row below @prefix; what borrows is not borrowed. */
static bool key_here(const struct schema_key *key, const char *prefix, bool borrowed)
{
	return path_below(key->path, prefix) && !(borrowed && key->borrows);
}

static const struct schema_key *key_find(const char *prefix, bool borrowed, const char *word)
{
	for (const struct schema_key *k = schema_keys; k->path; k++)
		if (!strcmp(path_leaf(k->path), word) && key_here(k, prefix, borrowed))
			return k;
	return NULL;
}

static const struct schema_key *key_at(const char *path)
{
	for (const struct schema_key *k = schema_keys; k->path; k++)
		if (!strcmp(k->path, path))
			return k;
	return NULL;
}

static bool type_is_map(enum schema_type type)
{
	return type <= SCHEMA_NAMED;
}

struct unit {
	const char *word;
	uint64_t factor;
};

static const struct unit time_units[] = {
	{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};

static const struct unit size_units[] = {
	{ "GiB", UINT64_C(1) << 30 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "B", 1 },
};

static const struct unit number_units[] = { { "", 1 } };

/* "@what from 1KiB to 1MiB, as @example" */
static void range_add(struct words *ret, const char *what, const struct schema_key *key,
		      const struct unit *units, const char *example)
{
	const struct unit *low = units, *high = units;
	char text[128];

	while (key->min % low->factor)
		low++;
	while (key->max % high->factor)
		high++;
	snprintf(text, sizeof(text), "%s from %llu%s to %llu%s%s", what,
		 (unsigned long long)(key->min / low->factor), key->min ? low->word : "",
		 (unsigned long long)(key->max / high->factor), high->word, example);
	words_add(ret, text);
}

void schema_accepted(const struct schema_key *key, struct words *ret)
{
	switch (key->type) {
	case SCHEMA_MAP:
	case SCHEMA_NAMED:
		words_add(ret, "a mapping");
		break;
	case SCHEMA_MAPS:
		words_add(ret, "a list of mappings");
		break;
	case SCHEMA_MAP_OR_MAPS:
		words_add(ret, "a mapping");
		words_add(ret, "a list of mappings");
		break;
	case SCHEMA_NAME:
		words_add(ret, "1 to 64 letters, digits, '-', '_', '.'");
		break;
	case SCHEMA_TEXT:
		words_add(ret, key->kind);
		break;
	case SCHEMA_WORD:
		for (const struct schema_word *w = key->words; w->word; w++)
			words_add(ret, w->word);
		break;
	case SCHEMA_BOOL:
		words_add(ret, "true");
		words_add(ret, "false");
		break;
	case SCHEMA_TIME:
		range_add(ret, "a time", key, time_units, ", as 250ms, 10s, 5m");
		break;
	case SCHEMA_SIZE:
		range_add(ret, "a size", key, size_units, ", as 64KiB, 1MiB");
		break;
	case SCHEMA_NUMBER:
		range_add(ret, "a number", key, number_units, "");
		break;
	case SCHEMA_PORTS:
		words_add(ret, "a port from 1 to 65535");
		words_add(ret, "a range as 8000-8099");
		break;
	case SCHEMA_ENDPOINT:
		words_add(ret, "ip:port as 127.0.0.1:8080 or [::1]:8080");
		break;
	case SCHEMA_PATH:
		words_add(ret, "the path of a file");
		break;
	}
	if (key->flags & SCHEMA_LIST)
		words_add(ret, "a list of these");
	if (key->flags & SCHEMA_OR_FALSE)
		words_add(ret, "false");
	if (key->flags & SCHEMA_OR_MAP)
		words_add(ret, "{ file: path }");
}

static bool scalar_is_null(const struct yaml_node *node)
{
	return node->kind == YAML_SCALAR && !node->quoted &&
	       (!*node->text || !strcmp(node->text, "~") || !strcmp(node->text, "null"));
}

static void value_refuse(struct yaml_node *node, const struct schema_key *key, struct diag *d,
			 const char *what)
{
	/* What is not there has no place: its key has. */
	bool null = scalar_is_null(node) && node->key;
	bool scalar = node->kind == YAML_SCALAR;
	struct words accepted = { .wanted =
					  scalar && key->type == SCHEMA_WORD ? node->text : NULL };
	char perhaps[96];

	schema_accepted(key, &accepted);
	diag_add(d, null ? node->key->at : node->at,
		 null	  ? node->key->text
		 : scalar ? node->text
			  : NULL,
		 accepted.text, "%s%s", what, words_perhaps(&accepted, perhaps));
	node->bad = true;
}

bool schema_name_ok(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789-_.");

	return len && !text[len] && len <= NAME_MAX_CHARS;
}

/* Decimal without leading zeros, or 0x and hexadecimal. */
static int number_parse(const char *text, uint64_t *ret)
{
	bool hex = text[0] == '0' && text[1] == 'x';
	const char *digits = hex ? "0123456789abcdefABCDEF" : "0123456789";
	size_t len = strlen(hex ? text + 2 : text);

	if (!len || len > 16 || strspn(hex ? text + 2 : text, digits) != len)
		return -EINVAL;
	if (!hex && len > 1 && text[0] == '0')
		return -EINVAL;
	*ret = strtoull(text, NULL, hex ? 16 : 10);
	return 0;
}

/* One port, decimal, up to @end. */
static int port_parse(const char *text, const char *end, uint64_t *ret)
{
	uint64_t n = 0;

	if (text == end || *text == '0')
		return -EINVAL;
	for (; text < end; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > UINT16_MAX)
			return -EINVAL;
	}
	*ret = n;
	return 0;
}

static int ports_parse(const char *text, uint64_t *ret)
{
	const char *end = text + strlen(text), *dash = strchr(text, '-');
	uint64_t first, last;

	if (port_parse(text, dash ? dash : end, &first) < 0 ||
	    port_parse(dash ? dash + 1 : text, end, &last) < 0 || first > last)
		return -EINVAL;
	*ret = first << 16 | last;
	return 0;
}

static int word_parse(const struct schema_word *words, const char *text, uint64_t *ret)
{
	for (; words->word; words++)
		if (!strcmp(words->word, text)) {
			*ret = words->value;
			return 0;
		}
	return -EINVAL;
}

static int bool_parse(const char *text, uint64_t *ret)
{
	*ret = !strcmp(text, "true");
	return *ret || !strcmp(text, "false") ? 0 : -EINVAL;
}

static int time_parse(const char *text, uint64_t *ret)
{
	uint32_t ms;
	int r = units_parse_time(text, &ms);

	if (!r)
		*ret = ms;
	return r;
}

static int endpoint_parse(const char *text)
{
	struct addr a;

	return addr_parse(text, &a) < 0 || !a.port ? -EINVAL : 0;
}

/* What a scalar means; NULL if it is right, else what is wrong with it. */
static const char *scalar_parse(const struct schema_key *key, const char *text, uint64_t *ret)
{
	int r = 0;

	switch (key->type) {
	case SCHEMA_MAP:
	case SCHEMA_MAPS:
	case SCHEMA_MAP_OR_MAPS:
	case SCHEMA_NAMED:
		return "not a mapping";
	case SCHEMA_NAME:
		return schema_name_ok(text) ? NULL : "no name";
	case SCHEMA_TEXT:
		return NULL;
	case SCHEMA_WORD:
		return word_parse(key->words, text, ret) < 0 ? "not accepted here" : NULL;
	case SCHEMA_BOOL:
		return bool_parse(text, ret) < 0 ? "neither true nor false" : NULL;
	case SCHEMA_TIME:
		r = time_parse(text, ret);
		if (r == -EINVAL)
			return "no time (is the unit there?)";
		break;
	case SCHEMA_SIZE:
		r = units_parse_size(text, ret);
		if (r == -EINVAL)
			return "no size (is the unit there?)";
		break;
	case SCHEMA_NUMBER:
		if (number_parse(text, ret) < 0)
			return "no number";
		break;
	case SCHEMA_PORTS:
		return ports_parse(text, ret) < 0 ? "no port" : NULL;
	case SCHEMA_ENDPOINT:
		return endpoint_parse(text) < 0 ? "no ip:port" : NULL;
	case SCHEMA_PATH:
		return *text ? NULL : "no path";
	}
	return r < 0 || *ret < key->min || *ret > key->max ? "out of range" : NULL;
}

static void scalar_check(struct yaml_node *node, const struct schema_key *key, struct diag *d)
{
	const char *wrong;

	if (node->bad)
		return;
	if (scalar_is_null(node)) {
		value_refuse(node, key, d, "no value");
		return;
	}
	if (node->kind != YAML_SCALAR) {
		value_refuse(node, key, d,
			     node->kind == YAML_LIST ? "a list is not accepted here"
						     : "a mapping is not accepted here");
		return;
	}
	if (key->flags & SCHEMA_LIST && *node->text == '\0') {
		value_refuse(node, key, d, "an empty word");
		return;
	}
	wrong = scalar_parse(key, node->text, &node->value);
	if (wrong)
		value_refuse(node, key, d, wrong);
}

static void map_check(struct yaml_node *map, const char *prefix, bool borrowed, struct diag *d);
static void value_check(struct yaml_node *node, const struct schema_key *key, struct diag *d);

static void maps_check(struct yaml_node *list, const struct schema_key *key, struct diag *d)
{
	for (struct yaml_node *n = list->child; n; n = n->next) {
		if (n->bad)
			continue;
		if (n->kind == YAML_MAP)
			map_check(n, key->borrows ? key->borrows : key->path, key->borrows, d);
		else
			value_refuse(n, key, d, "not a mapping");
	}
}

static void duplicates_check(struct yaml_node *map, struct diag *d)
{
	struct unique *keys = calloc(map->n + 1, sizeof(*keys));
	size_t n = 0;

	if (!keys) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *v = map->child; v; v = v->next)
		keys[n++] = (struct unique){ v->key->text, v->key->at, &v->bad };
	unique_check(keys, n, "this key is there already", d);
	free(keys);
}

/* A mapping whose keys are names of the user. */
static void named_check(struct yaml_node *map, const struct schema_key *key, struct diag *d)
{
	char path[64];
	const struct schema_key *value;

	snprintf(path, sizeof(path), "%s.*", key->path);
	value = key_at(path);
	duplicates_check(map, d);
	for (struct yaml_node *n = map->child; n && value; n = n->next) {
		if (n->bad)
			continue;
		if (!schema_name_ok(n->key->text)) {
			diag_add(d, n->key->at, n->key->text,
				 "1 to 64 letters, digits, '-', '_', '.'", "no name");
			n->bad = true;
			continue;
		}
		value_check(n, value, d);
	}
}

static void map_value_check(struct yaml_node *node, const struct schema_key *key, struct diag *d)
{
	if (node->kind == YAML_MAP && key->type == SCHEMA_NAMED)
		named_check(node, key, d);
	else if (node->kind == YAML_MAP && key->type != SCHEMA_MAPS)
		map_check(node, key->borrows ? key->borrows : key->path, key->borrows, d);
	else if (node->kind == YAML_LIST && !node->n && !(key->flags & SCHEMA_EMPTY) &&
		 (key->type == SCHEMA_MAPS || key->type == SCHEMA_MAP_OR_MAPS))
		value_refuse(node, key, d, "an empty list");
	else if (node->kind == YAML_LIST &&
		 (key->type == SCHEMA_MAPS || key->type == SCHEMA_MAP_OR_MAPS))
		maps_check(node, key, d);
	else if (scalar_is_null(node))
		value_refuse(node, key, d, "no value");
	else if (key->type == SCHEMA_MAPS)
		value_refuse(node, key, d, "not a list of mappings");
	else
		value_refuse(node, key, d, "not a mapping");
}

static void value_check(struct yaml_node *node, const struct schema_key *key, struct diag *d)
{
	if (node->bad)
		return;
	if (type_is_map(key->type)) {
		map_value_check(node, key, d);
		return;
	}
	if (key->flags & SCHEMA_OR_MAP && node->kind == YAML_MAP) {
		map_check(node, key->path, false, d);
		return;
	}
	if (key->flags & SCHEMA_OR_FALSE && node->kind == YAML_SCALAR &&
	    !strcmp(node->text, "false")) {
		node->value = SCHEMA_FALSE;
		return;
	}
	if (!(key->flags & SCHEMA_LIST) || node->kind != YAML_LIST) {
		scalar_check(node, key, d);
		return;
	}
	if (!node->n && !(key->flags & SCHEMA_EMPTY))
		value_refuse(node, key, d, "an empty list");
	for (struct yaml_node *n = node->child; n; n = n->next)
		scalar_check(n, key, d);
}

static void key_refuse(struct yaml_node *node, const char *prefix, bool borrowed, struct diag *d)
{
	struct words accepted = { .wanted = node->key->text };
	char perhaps[96];

	for (const struct schema_key *k = schema_keys; k->path; k++)
		if (key_here(k, prefix, borrowed))
			words_add(&accepted, path_leaf(k->path));
	diag_add(d, node->key->at, node->key->text, accepted.text, "unknown key%s",
		 words_perhaps(&accepted, perhaps));
	node->bad = true;
}

static bool key_present(const struct yaml_node *map, const char *word)
{
	for (const struct yaml_node *n = map->child; n; n = n->next)
		if (!strcmp(n->key->text, word))
			return true;
	return false;
}

static void map_check(struct yaml_node *map, const char *prefix, bool borrowed, struct diag *d)
{
	duplicates_check(map, d);
	for (struct yaml_node *n = map->child; n; n = n->next) {
		const struct schema_key *key = key_find(prefix, borrowed, n->key->text);

		if (n->bad)
			continue;
		if (key)
			value_check(n, key, d);
		else
			key_refuse(n, prefix, borrowed, d);
	}
	for (const struct schema_key *k = schema_keys; k->path; k++)
		if (k->flags & SCHEMA_REQUIRED && key_here(k, prefix, borrowed) &&
		    !key_present(map, path_leaf(k->path))) {
			struct words accepted = { 0 };

			schema_accepted(k, &accepted);
			diag_add(d, map->at, path_leaf(k->path), accepted.text,
				 "this key is missing");
		}
}

void schema_check(struct yaml_node *root, struct diag *d)
{
	if (root->bad)
		return;
	if (root->kind == YAML_MAP) {
		map_check(root, "", false, d);
		return;
	}
	diag_add(d, root->at, root->kind == YAML_SCALAR ? root->text : NULL,
		 "a mapping, as listeners: …", "the configuration is not a mapping");
	root->bad = true;
}

/* The value at a path without lists; NULL if absent. */
static const struct yaml_node *node_at(const struct yaml_node *root, const char *path)
{
	while (root && *path) {
		size_t len = strcspn(path, ".");
		const struct yaml_node *n = root->kind == YAML_MAP ? root->child : NULL;

		while (n &&
		       (n->bad || strlen(n->key->text) != len || memcmp(n->key->text, path, len)))
			n = n->next;
		root = n;
		path += len + !!path[len];
	}
	return root;
}

int schema_apply(const struct yaml_node *root, struct config *c)
{
	for (const struct schema_key *k = schema_keys; k->path; k++) {
		void *member = (char *)c + k->offset;
		const struct yaml_node *node;
		uint64_t value = 0;

		if (!k->size)
			continue;
		node = node_at(root, k->path);
		if (k->type == SCHEMA_PATH || k->type == SCHEMA_NAME) {
			const char *text = node ? node->text : k->fallback;
			char **string = member;

			free(*string);
			*string = text ? strdup(text) : NULL;
			if (text && !*string)
				return -ENOMEM;
			continue;
		}
		if (node)
			value = node->value;
		else if (scalar_parse(k, k->fallback, &value))
			return -EINVAL;
		if (k->size == sizeof(uint64_t))
			memcpy(member, &value, sizeof(value));
		else
			memcpy(member, &(uint32_t){ (uint32_t)value }, sizeof(uint32_t));
	}
	return 0;
}
