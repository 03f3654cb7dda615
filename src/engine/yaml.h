/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_YAML_H
#define ENGINE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/diag.h"

/* More than any configuration needs: the limits of what a file may ask of the reader. */
#define YAML_MAX_BYTES (16u << 20)
#define YAML_MAX_DEPTH 16

enum yaml_kind {
	YAML_SCALAR,
	YAML_LIST,
	YAML_MAP,
};

/**
 * struct yaml_node - one value of the document
 * @kind:	which
 * @quoted:	scalar: was not written plainly
 * @bad:	something is wrong with it and was said: no longer to be looked at
 * @at:		where it begins
 * @text:	scalar: its text, never NULL; without NUL bytes
 * @key:	its key in the mapping around it, NULL elsewhere
 * @child:	list, mapping: its first value
 * @next:	the next value of the same list or mapping
 * @n:		list, mapping: how many values, those too that are bad or were dropped
 * @value:	scalar: what the schema made of @text
 */
struct yaml_node {
	enum yaml_kind kind;
	bool quoted;
	bool bad;
	struct place at;
	const char *text;
	struct yaml_node *key;
	struct yaml_node *child;
	struct yaml_node *next;
	size_t n;
	uint64_t value;
	struct yaml_node *last;	 /* of the children, while parsing */
	struct yaml_node *older; /* all nodes of a document, for freeing */
};

struct yaml {
	struct yaml_node *root;
	struct yaml_node *newest;
};

/**
 * yaml_parse() - one document without tags, anchors, aliases, merge keys and directives
 * @d:		takes the errors
 * @bytes:	the document, not NUL-terminated
 *
 * The result is always to be released.  Only when it is 0 is there a root; errors may have been
 * noted even then (the nodes are bad).
 *
 * Return: 0, -EINVAL (noted in @d), -ENOMEM (noted too).
 */
int yaml_parse(struct diag *d, const char *bytes, size_t len, struct yaml *ret);
void yaml_done(struct yaml *y);

/* The value of @key, NULL if absent or bad.  @map may be NULL. */
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/*
 * Walk what may be one scalar or a list: first = yaml_first(node), then yaml_next().  Bad ones
 * are left out.  @node may be NULL.
 */
struct yaml_node *yaml_first(struct yaml_node *node);
struct yaml_node *yaml_next(const struct yaml_node *of, const struct yaml_node *item);

#endif
