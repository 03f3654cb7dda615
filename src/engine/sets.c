/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The first entry decides what a set is of; an entry of the other kind is an error where it
 * stands.  Sets name other sets, so they are compiled depth first, each once: NEW, OPEN while
 * what it names is compiled (met again in this state: a cycle), DONE.  The recursion is bounded
 * by the number of sets, which is bounded.
 *
 * A set that names others takes over their entries; sealing drops what was there twice, so
 * naming one set in many ways does not add up.
 *
 * A rule with a single "$name" points at the compiled set; the policy owns it from then on and
 * however many rules share it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/file.h"
#include "engine/schema.h"
#include "engine/sets.h"
#include "engine/words.h"

#define SETS_MAX 1000
#define FILE_MAX_BYTES (INT64_C(1) << 30)
#define FILE_MAX_ERRORS 20

/* The last label of a name is never a number: "10.0.0.256" is a slip, no name. */
static bool ends_in_number(const char *text)
{
	size_t len = strlen(text), end;

	if (len && text[len - 1] == '.')
		len--;
	end = len;
	while (len && text[len - 1] >= '0' && text[len - 1] <= '9')
		len--;
	return len < end && (!len || text[len - 1] == '.');
}

/* One entry.  NULL: taken, or memory is out (noted); else what is wrong with it. */
static const char *entry_add(struct set *set, const char *text, struct diag *d)
{
	int r = netset_add(set->nets, text);

	if (r == -ERANGE)
		return "bits are set behind the prefix of this network";
	if (!r) {
		if (set->kind == SET_NAMES)
			return "a network in a set of names";
		set->kind = SET_NETS;
		return NULL;
	}
	if (r == -EINVAL) {
		r = ends_in_number(text) ? -EINVAL : nameset_add(set->names, text);
		if (!r && set->kind == SET_NETS)
			return "a name in a set of networks";
		if (!r)
			set->kind = SET_NAMES;
	}
	if (r == -EINVAL)
		return set->kind == SET_NETS	? "no network"
		       : set->kind == SET_NAMES ? "no domain pattern"
						: "neither a network nor a domain pattern";
	if (r < 0)
		diag_no_memory(d);
	return NULL;
}

static const char *entry_accepted(enum set_kind kind)
{
	static const char nets[] = "192.0.2.7, 10.0.0.0/8, 10.0.0.1-10.0.0.9, fd00::/8, $set";
	static const char names[] = "example.net, *.example.net (below it), .example.net (both), "
				    "$set";

	switch (kind) {
	case SET_NETS:
		return nets;
	case SET_NAMES:
		return names;
	case SET_EMPTY:
		break;
	}
	return "10.0.0.0/8, fd00::/8, example.net, *.example.net, $set";
}

static int set_init(struct set *set, struct diag *d)
{
	set->nets = netset_new();
	set->names = nameset_new();
	if (set->nets && set->names)
		return 0;
	diag_no_memory(d);
	return -ENOMEM;
}

static void set_done(struct set *set)
{
	if (set->shared)
		return;
	netset_free(set->nets);
	nameset_free(set->names);
	set->nets = NULL;
	set->names = NULL;
}

/* Entry, comment and blanks of one line; what remains, NULL: nothing. */
static char *line_trim(char *line)
{
	static const char blanks[] = " \t\r\n";
	size_t len;

	line += strspn(line, blanks);
	for (char *p = line; *p; p++)
		if (*p == '#' && (p == line || strchr(blanks, p[-1])))
			*p = '\0';
	len = strlen(line);
	while (len && strchr(blanks, line[len - 1]))
		line[--len] = '\0';
	return len ? line : NULL;
}

/* The lines of an open file. */
static void lines_add(struct set *set, FILE *f, struct place at, const char *path, struct diag *d)
{
	_cleanup_free_ char *line = NULL;
	size_t cap = 0, n_errors = 0;
	ssize_t len;

	for (uint32_t n = 1; (len = getline(&line, &cap, f)) >= 0; n++) {
		const char *wrong = NULL, *entry = NULL;

		if (memchr(line, '\0', (size_t)len))
			wrong = "a NUL byte";
		else if ((entry = line_trim(line)))
			wrong = entry_add(set, entry, d);
		if (d->no_memory)
			return;
		if (!wrong)
			continue;
		set->bad = true;
		if (n_errors++ == FILE_MAX_ERRORS) {
			diag_add_in(d, at, path, n, NULL, NULL, "more errors follow in this file");
			return;
		}
		diag_add_in(d, at, path, n, entry, entry_accepted(set->kind), wrong);
	}
	if (ferror(f)) {
		diag_add(d, at, path, NULL, "the set cannot be read (%s)", strerror(errno));
		set->bad = true;
	}
}

static void file_add(struct sets *s, struct set *set, const struct yaml_node *file)
{
	_cleanup_close_ int fd = -1;
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *path = file_below(s->folder, file->text);
	const char *wrong = NULL;
	struct stat st;

	if (!path) {
		diag_no_memory(s->diag);
		return;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		wrong = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		wrong = "not a regular file";
	else if (st.st_size > FILE_MAX_BYTES)
		wrong = "more than 1 GiB";
	else if (!(f = fdopen(fd, "r")))
		wrong = strerror(errno);
	if (wrong) {
		diag_add(s->diag, file->at, path, NULL, "the set cannot be read (%s)", wrong);
		set->bad = true;
		return;
	}
	TAKE_FD(fd);
	lines_add(set, f, file->at, path, s->diag);
}

static int set_compare(const void *a, const void *b)
{
	return strcmp(((const struct set *)a)->name, ((const struct set *)b)->name);
}

/* "$name" -> the set; NULL: there is none (noted). */
static struct set *set_find(struct sets *s, const struct yaml_node *item)
{
	const struct set wanted = { .name = item->text + 1 };
	struct words words = { .wanted = item->text };
	struct set *set = NULL;
	char perhaps[96];

	if (s->n)
		set = bsearch(&wanted, s->list, s->n, sizeof(*s->list), set_compare);
	if (set) {
		set->used = true;
		return set;
	}
	for (size_t i = 0; i < s->n; i++) {
		char word[72];

		snprintf(word, sizeof(word), "$%s", s->list[i].name);
		words_add(&words, word);
	}
	diag_add(s->diag, item->at, item->text, words.len ? words.text : NULL,
		 "there is no such set%s", words_perhaps(&words, perhaps));
	return NULL;
}

static void set_compile(struct sets *s, struct set *set);

/* Take over what "$name" contains. */
static void reference_add(struct sets *s, struct set *set, const struct yaml_node *item)
{
	struct set *other = set_find(s, item);

	if (!other) {
		set->bad = true;
		return;
	}
	if (other->state == SET_OPEN) {
		diag_add(s->diag, item->at, item->text, NULL, "this set contains itself");
		set->bad = true;
		return;
	}
	set_compile(s, other);
	set->bad = set->bad || other->bad;
	if (set->bad || other->kind == SET_EMPTY)
		return;
	if (set->kind != SET_EMPTY && set->kind != other->kind) {
		diag_add(s->diag, item->at, item->text, NULL, "a set of %s in a set of %s",
			 other->kind == SET_NETS ? "networks" : "names",
			 set->kind == SET_NETS ? "networks" : "names");
		set->bad = true;
		return;
	}
	set->kind = other->kind;
	if (netset_merge(set->nets, other->nets) < 0 || nameset_merge(set->names, other->names) < 0)
		diag_no_memory(s->diag);
	else
		netset_seal(set->nets);
}

static void items_add(struct sets *s, struct set *set, struct yaml_node *values)
{
	/* Whatever was wrong with an item was said, but the set is not whole. */
	if (values->kind == YAML_LIST)
		for (const struct yaml_node *n = values->child; n; n = n->next)
			set->bad = set->bad || n->bad;
	for (struct yaml_node *n = yaml_first(values); n; n = yaml_next(values, n)) {
		const char *wrong = NULL;

		if (s->diag->no_memory)
			return;
		if (n->text[0] == '$')
			reference_add(s, set, n);
		else
			wrong = entry_add(set, n->text, s->diag);
		if (!wrong)
			continue;
		diag_add(s->diag, n->at, n->text, entry_accepted(set->kind), "%s", wrong);
		set->bad = true;
	}
	netset_seal(set->nets);
}

static void set_compile(struct sets *s, struct set *set)
{
	const struct yaml_node *file;

	if (set->state != SET_NEW)
		return;
	set->state = SET_OPEN;
	if (set->node->bad || set_init(set, s->diag) < 0) {
		set->bad = true;
	} else if (set->node->kind == YAML_MAP) {
		file = yaml_get(set->node, "file");
		if (file)
			file_add(s, set, file);
		else
			set->bad = true;
		netset_seal(set->nets);
	} else {
		items_add(s, set, set->node);
	}
	set->state = SET_DONE;
}

void sets_load(struct yaml_node *node, const char *folder, struct diag *d, struct sets *ret)
{
	*ret = (struct sets){ .diag = d, .folder = folder };
	if (!node || !node->n)
		return;
	if (node->n > SETS_MAX) {
		diag_add(d, node->at, NULL, NULL, "more than %d sets", SETS_MAX);
		return;
	}
	ret->list = calloc(node->n, sizeof(*ret->list));
	if (!ret->list) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *n = node->child; n; n = n->next) {
		bool left_out =
			!schema_name_ok(n->key->text); /* was said, and is not to be shown */

		for (size_t i = 0; i < ret->n; i++)
			left_out = left_out || !strcmp(ret->list[i].name, n->key->text);
		if (!left_out)
			ret->list[ret->n++] = (struct set){ .name = n->key->text, .node = n };
	}
	qsort(ret->list, ret->n, sizeof(*ret->list), set_compare);
	for (size_t i = 0; i < ret->n; i++)
		set_compile(ret, &ret->list[i]);
}

void sets_check_used(struct sets *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!s->list[i].used && !s->list[i].node->bad)
			diag_add(s->diag, s->list[i].node->key->at, s->list[i].name, NULL,
				 "no rule and no set uses this set");
}

void sets_done(struct sets *s)
{
	for (size_t i = 0; i < s->n; i++)
		set_done(&s->list[i]);
	free(s->list);
	s->list = NULL;
	s->n = 0;
}

/* The policy owns the set from now on. */
static int set_share(struct set *set, struct policy *p)
{
	struct netset **netsets;
	struct nameset **namesets;

	if (set->shared)
		return 0;
	netsets = reallocarray(p->netsets, p->n_netsets + 1, sizeof(struct netset *));
	if (!netsets)
		return -ENOMEM;
	p->netsets = netsets;
	namesets = reallocarray(p->namesets, p->n_namesets + 1, sizeof(struct nameset *));
	if (!namesets)
		return -ENOMEM;
	p->namesets = namesets;
	p->netsets[p->n_netsets++] = set->nets;
	p->namesets[p->n_namesets++] = set->names;
	set->shared = true;
	return 0;
}

static const struct set *set_judge(struct sets *s, struct set *set, enum set_kind kind,
				   const struct yaml_node *at, struct policy *p)
{
	if (set->bad || s->diag->no_memory)
		return NULL;
	if (set->kind != SET_EMPTY && set->kind != kind) {
		diag_add(s->diag, at->at, at->kind == YAML_SCALAR ? at->text : NULL,
			 entry_accepted(kind), "%s are asked for here, not %s",
			 kind == SET_NETS ? "networks" : "domain names",
			 kind == SET_NETS ? "domain names" : "networks");
		return NULL;
	}
	if (set_share(set, p) < 0) {
		diag_no_memory(s->diag);
		return NULL;
	}
	return set;
}

const struct set *set_of(struct sets *s, struct yaml_node *values, enum set_kind kind,
			 struct policy *p, struct set *ret)
{
	struct yaml_node *first = yaml_first(values);
	const struct set *judged;
	struct set *named;

	if (!first)
		return NULL;
	if (first->text[0] == '$' && (values == first || values->n == 1)) {
		named = set_find(s, first);
		return named ? set_judge(s, named, kind, first, p) : NULL;
	}
	*ret = (struct set){ .state = SET_OPEN };
	if (set_init(ret, s->diag) < 0) {
		set_done(ret);
		return NULL;
	}
	ret->kind = kind;
	items_add(s, ret, values);
	judged = set_judge(s, ret, kind, first, p);
	if (!judged)
		set_done(ret);
	return judged;
}
