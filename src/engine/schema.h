/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SCHEMA_H
#define ENGINE_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "engine/config.h"
#include "engine/diag.h"
#include "engine/words.h"
#include "engine/yaml.h"

enum schema_type {
	SCHEMA_MAP,	    /* keys of its own, in the table below its path */
	SCHEMA_MAPS,	    /* a list of such mappings */
	SCHEMA_MAP_OR_MAPS, /* one, or a list of them */
	SCHEMA_NAMED,	    /* names chosen by the user; the row "<path>.*" is their value */
	SCHEMA_NAME,	    /* a name the user gives */
	SCHEMA_TEXT,	    /* a word that whoever compiles it checks */
	SCHEMA_WORD,	    /* one of the words */
	SCHEMA_BOOL,
	SCHEMA_TIME,	 /* milliseconds */
	SCHEMA_SIZE,	 /* bytes */
	SCHEMA_NUMBER,	 /* decimal or 0x… */
	SCHEMA_PORTS,	 /* a port or a range; value: first << 16 | last */
	SCHEMA_ENDPOINT, /* ip:port */
	SCHEMA_PATH,
};

enum {
	SCHEMA_LIST = 1,     /* a scalar of the type, or a list of such scalars */
	SCHEMA_EMPTY = 2,    /* the list may be empty */
	SCHEMA_REQUIRED = 4, /* in each mapping that could have it */
	SCHEMA_OR_FALSE = 8, /* or the word false; value: SCHEMA_FALSE */
	SCHEMA_OR_MAP = 16,  /* or a mapping with keys of its own */
};

#define SCHEMA_FALSE UINT64_MAX

/* A word and what it stands for; the last of a table has no word. */
struct schema_word {
	const char *word;
	uint64_t value;
};

/**
 * struct schema_key - one key of the configuration
 * @path:	from the top, with dots; what is in a list has the path of the list
 * @type:	what its value is
 * @flags:	SCHEMA_LIST …
 * @words:	SCHEMA_WORD: the accepted words
 * @min, @max:	numbers, times, sizes
 * @kind:	what a SCHEMA_TEXT is, in words, for errors and the manual
 * @fallback:	value when absent, as one would write it; NULL: none
 * @text:	what it is for
 * @borrows:	mappings: the path whose keys these are; keys that borrow are not borrowed
 * @offset, @size: member of struct config that takes the value; @size 0: none does
 */
struct schema_key {
	const char *path;
	enum schema_type type;
	unsigned int flags;
	const struct schema_word *words;
	uint64_t min, max;
	const char *kind;
	const char *fallback;
	const char *text;
	const char *borrows;
	size_t offset, size;
};

/* The one table of all keys; the last has no path. */
extern const struct schema_key schema_keys[];

/**
 * schema_check() - hold a document against the table
 *
 * Each value that is wrong is noted in @d and marked bad; the good ones have their
 * yaml_node.value.
 */
void schema_check(struct yaml_node *root, struct diag *d);

/**
 * schema_apply() - fill the members of @c that have a row of their own
 * @root:	checked document, or NULL for the defaults only
 *
 * Return: 0 or -ENOMEM.
 */
int schema_apply(const struct yaml_node *root, struct config *c);

/* A name as SCHEMA_NAME wants it? */
bool schema_name_ok(const char *text);

/* What a value of @key may be, for people. */
void schema_accepted(const struct schema_key *key, struct words *ret);

#endif
