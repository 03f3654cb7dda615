/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The only file that knows libfyaml.  Of it we use the event parser and build our own tree:
 * libfyaml's document would resolve aliases and stop at the first duplicate key, and walks its
 * tree by recursion.  Events name tags and anchors where they stand, the parser keeps no more
 * than one state per level, and we stop at YAML_MAX_DEPTH.
 *
 * What YAML can do and a configuration need not is an error that says what to write instead;
 * the node then is bad and the rest is read on.  Directives are refused before the library sees
 * them (its time for them is quadratic), and so are bytes that are no text.
 *
 * The stack of open lists and mappings is an array.  A frame of a mapping remembers the key that
 * waits for its value; a key that is no scalar opens frames like a value does and is dropped.
 */
#include <errno.h>
#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/yaml.h"

struct frame {
	struct yaml_node *node;
	struct yaml_node *key; /* mapping: waits for its value */
	bool dropped;	       /* mapping: the value of @key is not wanted */
};

struct reader {
	struct diag *diag;
	struct yaml *yaml;
	struct span bytes; /* the document */
	struct frame stack[YAML_MAX_DEPTH];
	size_t depth;
	size_t n_documents;
	struct place at; /* of the last event that had one */
	bool said;	 /* the library's own error was noted */
};

/* What an event carries, whatever its type. */
struct parts {
	struct fy_token *value, *tag, *anchor;
};

static void *node_new(struct reader *r, enum yaml_kind kind, size_t extra_bytes)
{
	struct yaml_node *node = calloc(1, sizeof(*node) + extra_bytes);

	if (!node) {
		diag_no_memory(r->diag);
		return NULL;
	}
	node->kind = kind;
	node->at = r->at;
	node->older = r->yaml->newest;
	r->yaml->newest = node;
	return node;
}

/*
 * libfyaml 0.7.12 reads 'a''''b' with a quote too many and loses memory over longer rows of
 * quotes.  Nothing here needs two quotes in a row.
 */
static bool quotes_in_a_row(const struct reader *r, struct fy_token *value)
{
	const struct fy_mark *start = fy_token_start_mark(value), *end = fy_token_end_mark(value);
	struct span raw;

	if (fy_token_scalar_style(value) != FYSS_SINGLE_QUOTED || !start || !end)
		return false;
	if (end->input_pos < start->input_pos)
		return false;
	raw = span_head(span_skip(r->bytes, start->input_pos), end->input_pos - start->input_pos);
	return raw.len && memmem(raw.data, raw.len, "''''", 4);
}

/* Our copy of a scalar; NULL: no memory. */
static struct yaml_node *scalar_new(struct reader *r, struct fy_token *value)
{
	struct yaml_node *node;
	size_t len = 0;
	bool row = value && quotes_in_a_row(r, value);
	const char *text = value && !row ? fy_token_get_text(value, &len) : NULL;
	char *copy;

	if (!text)
		len = 0;
	node = node_new(r, YAML_SCALAR, len + 1);
	if (!node)
		return NULL;
	copy = (char *)(node + 1);
	if (len)
		memcpy(copy, text, len);
	node->text = copy;
	node->quoted = value && fy_token_scalar_style(value) != FYSS_PLAIN;
	if (row) {
		diag_add(r->diag, node->at, NULL, "double quotes",
			 "two single quotes in a row are not read well");
		node->bad = true;
	}
	if (memchr(copy, '\0', len)) {
		diag_add(r->diag, node->at, copy, NULL, "a NUL character is in this word");
		node->bad = true;
	}
	return node;
}

static bool token_quoted(struct fy_token *token)
{
	enum fy_scalar_style style = fy_token_scalar_style(token);

	return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
}

static void place_set(struct reader *r, struct fy_token *token)
{
	const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;

	if (mark)
		r->at = (struct place){ (uint32_t)mark->line + 1, (uint32_t)mark->column + 1 };
}

/* The innermost key around the current place, or NULL. */
static const char *key_around(const struct reader *r)
{
	for (size_t i = r->depth; i-- > 0;)
		if (r->stack[i].key)
			return r->stack[i].key->text;
	return NULL;
}

/* A token as text; the caller frees it.  Never NULL unless memory is out. */
static char *token_text(struct reader *r, const char *before, struct fy_token *token)
{
	size_t len = 0;
	const char *text = fy_token_get_text(token, &len);
	char *ret;

	if (asprintf(&ret, "%s%.*s", before, text ? (int)len : 0, text ? text : "") < 0) {
		diag_no_memory(r->diag);
		return NULL;
	}
	return ret;
}

static void tag_refuse(struct reader *r, struct fy_token *tag)
{
	_cleanup_free_ char *text = token_text(r, "", tag);
	const char *key = key_around(r);
	char key_escaped[64], text_escaped[64];

	place_set(r, tag);
	if (!text)
		return;
	if (text[0] != '!' || !text[1] || text[1] == '!' || !key) {
		diag_add(r->diag, r->at, text, NULL,
			 "this is a YAML tag: quote it or leave it out");
		return;
	}
	text_escape(span_str(key), key_escaped, sizeof(key_escaped));
	text_escape(span_str(text + 1), text_escaped, sizeof(text_escaped));
	diag_add(r->diag, r->at, text, NULL, "this is a YAML tag, write not: {%s: %s} or quote it",
		 key_escaped, text_escaped);
}

static void anchor_refuse(struct reader *r, struct fy_token *anchor)
{
	_cleanup_free_ char *text = token_text(r, "&", anchor);

	place_set(r, anchor);
	r->at.column -= r->at.column > 1; /* the token begins behind the sign */
	if (text)
		diag_add(r->diag, r->at, text, NULL,
			 "this is a YAML anchor, which is not used here: quote it, or write a set");
}

static void alias_refuse(struct reader *r, struct fy_token *alias)
{
	_cleanup_free_ char *text = token_text(r, "*", alias);

	place_set(r, alias);
	r->at.column -= r->at.column > 1;
	if (text)
		diag_add(r->diag, r->at, text, NULL,
			 "this is a YAML alias, which is not used here: quote it, or write a set");
}

/* A finished scalar, or a list or mapping that opens, takes its place in what is around it. */
static void node_attach(struct reader *r, struct yaml_node *node)
{
	struct frame *f;
	struct yaml_node *around;

	if (!r->depth) {
		r->yaml->root = node;
		return;
	}
	f = &r->stack[r->depth - 1];
	around = f->node;
	if (around->kind == YAML_MAP) {
		if (f->dropped) {
			f->key = NULL;
			f->dropped = false;
			around->n++;
			return;
		}
		node->key = TAKE_PTR(f->key);
	}
	if (around->last)
		around->last->next = node;
	else
		around->child = node;
	around->last = node;
	around->n++;
}

/* Is the next node a key? */
static bool key_due(const struct reader *r)
{
	const struct frame *f = r->depth ? &r->stack[r->depth - 1] : NULL;

	return f && f->node->kind == YAML_MAP && !f->key;
}

static void key_take(struct reader *r, struct yaml_node *key)
{
	struct frame *f = &r->stack[r->depth - 1];

	f->key = key;
	if (key->bad) {
		f->dropped = true;
	} else if (key->kind != YAML_SCALAR) {
		diag_add(r->diag, key->at, NULL, "a word", "a key cannot be a list or a mapping");
		f->dropped = true;
	} else if (!key->quoted && !strcmp(key->text, "<<")) {
		diag_add(r->diag, key->at, key->text, NULL,
			 "this is a YAML merge key, which is not used here: write the keys out");
		f->dropped = true;
	}
}

/* A list or mapping is attached (or is a key) as soon as it opens. */
static int frame_open(struct reader *r, struct yaml_node *node)
{
	if (key_due(r)) {
		key_take(r, node);
		node->text = ""; /* for key_around() */
	} else {
		node_attach(r, node);
	}
	if (r->depth == YAML_MAX_DEPTH) {
		diag_add(r->diag, node->at, NULL, NULL,
			 "lists and mappings are nested more than %d deep", YAML_MAX_DEPTH);
		return -EINVAL;
	}
	r->stack[r->depth++] = (struct frame){ .node = node };
	return 0;
}

static int node_event(struct reader *r, enum yaml_kind kind, struct parts p)
{
	struct yaml_node *node;
	struct place at;

	place_set(r, p.value ? p.value : p.tag ? p.tag : p.anchor);
	if (p.value && kind == YAML_SCALAR && token_quoted(p.value))
		r->at.column -= r->at.column > 1; /* the token begins behind the quote */
	at = r->at;
	if (p.tag)
		tag_refuse(r, p.tag);
	if (p.anchor)
		anchor_refuse(r, p.anchor);
	r->at = at;
	node = kind == YAML_SCALAR ? scalar_new(r, p.value) : node_new(r, kind, 0);
	if (!node)
		return -ENOMEM;
	node->bad = node->bad || p.tag;
	if (kind != YAML_SCALAR)
		return frame_open(r, node);
	if (key_due(r))
		key_take(r, node);
	else
		node_attach(r, node);
	return 0;
}

static int alias_event(struct reader *r, struct fy_token *alias)
{
	struct yaml_node *node;

	alias_refuse(r, alias);
	node = scalar_new(r, NULL);
	if (!node)
		return -ENOMEM;
	node->bad = true;
	if (key_due(r))
		key_take(r, node);
	else
		node_attach(r, node);
	return 0;
}

static int event_take(struct reader *r, struct fy_event *e)
{
	switch (e->type) {
	case FYET_DOCUMENT_START:
		if (!r->n_documents++)
			return 0;
		place_set(r, e->document_start.document_start);
		diag_add(r->diag, r->at, NULL, "one document",
			 "a second YAML document begins here");
		return -EINVAL;
	case FYET_SCALAR:
		return node_event(r, YAML_SCALAR,
				  (struct parts){ e->scalar.value, e->scalar.tag,
						  e->scalar.anchor });
	case FYET_SEQUENCE_START:
		return node_event(r, YAML_LIST,
				  (struct parts){ e->sequence_start.sequence_start,
						  e->sequence_start.tag,
						  e->sequence_start.anchor });
	case FYET_MAPPING_START:
		return node_event(r, YAML_MAP,
				  (struct parts){ e->mapping_start.mapping_start,
						  e->mapping_start.tag, e->mapping_start.anchor });
	case FYET_ALIAS:
		return alias_event(r, e->alias.anchor);
	case FYET_SEQUENCE_END:
	case FYET_MAPPING_END:
		r->depth--;
		return 0;
	case FYET_NONE:
	case FYET_STREAM_START:
	case FYET_STREAM_END:
	case FYET_DOCUMENT_END:
		return 0;
	}
	return 0;
}

/*
 * The library's own errors: "<memory-@…>:LINE:COL: error: text", then lines that show the place
 * with arrows.  The first says it all.
 */
static void library_said(struct fy_diag *unused, void *user, const char *text, size_t len)
{
	struct reader *r = user;
	const char *sign = memmem(text, len, ": error: ", 9);
	const char *end = memchr(text, '\n', len), *numbers = memmem(text, len, ">:", 2);
	struct place at = r->at;
	char escaped[256];

	(void)unused;
	if (!sign || r->said)
		return;
	r->said = true;
	if (!end)
		end = text + len;
	if (numbers && numbers < sign) {
		char *next;

		at.line = (uint32_t)strtoul(numbers + 2, &next, 10);
		at.column = *next == ':' ? (uint32_t)strtoul(next + 1, NULL, 10) : 1;
	}
	sign += 9;
	diag_add(r->diag, at, NULL, NULL, "YAML: %s",
		 text_escape(span_of(sign, (size_t)(end - sign)), escaped, sizeof(escaped)));
}

/*
 * The library does not notice each allocation that fails, or says "" for a text that it cannot
 * make: what is written would be read as something else.  But malloc(3) leaves its trace.
 */
static int events_read(struct reader *r, struct fy_parser *parser)
{
	struct fy_event *e;
	int ret = 0;

	errno = 0;
	while (!ret && (e = fy_parser_parse(parser))) {
		ret = event_take(r, e);
		fy_parser_event_free(parser, e);
	}
	if (errno == ENOMEM) {
		diag_no_memory(r->diag);
		ret = -ENOMEM;
	}
	if (ret)
		return ret;
	if (fy_parser_get_stream_error(parser)) {
		if (!r->said)
			diag_add(r->diag, r->at, NULL, NULL, "YAML: the syntax is wrong here");
		return -EINVAL;
	}
	if (!r->yaml->root) {
		diag_add(r->diag, (struct place){ 1, 1 }, NULL, "a mapping, as listeners: …",
			 "nothing is in this file");
		return -EINVAL;
	}
	return 0;
}

/* Bytes of the character that begins here, 0: not UTF-8 (RFC 3629 section 4). */
static size_t utf8_length(const uint8_t *p, size_t left)
{
	size_t n = 0;

	if (*p < 0x80)
		n = 1;
	else if (*p >= 0xc2 && *p < 0xe0)
		n = 2;
	else if (*p >= 0xe0 && *p < 0xf0)
		n = 3;
	else if (*p >= 0xf0 && *p < 0xf5)
		n = 4;
	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

/* Text, and no directive. */
static int bytes_check(struct diag *d, struct span bytes)
{
	const uint8_t *p = bytes.data, *end = p + bytes.len;
	struct place at = { 1, 1 };

	while (p < end) {
		size_t n = utf8_length(p, (size_t)(end - p));
		const char *wrong = NULL;

		if (!n)
			wrong = "this byte is not UTF-8";
		else if (!*p)
			wrong = "a NUL byte";
		else if ((*p < 0x20 && !strchr("\t\n\r", *p)) || *p == 0x7f)
			wrong = "a control character";
		else if (*p == '%' && at.column == 1)
			wrong = "YAML directives are not used here";
		if (wrong) {
			diag_add(d, at, NULL, NULL, "%s", wrong);
			return -EINVAL;
		}
		at.column++;
		if (*p == '\n' || (*p == '\r' && p + 1 < end && p[1] != '\n'))
			at = (struct place){ at.line + 1, 1 };
		p += n;
	}
	return 0;
}

static void parser_done(struct fy_parser **p)
{
	fy_parser_destroy(*p);
}

static void diag_unref(struct fy_diag **d)
{
	fy_diag_unref(*d);
}

int yaml_parse(struct diag *d, const char *bytes, size_t len, struct yaml *ret)
{
	struct reader r = { .diag = d, .yaml = ret, .bytes = span_of(bytes, len), .at = { 1, 1 } };
	struct fy_diag_cfg diag_cfg;
	struct fy_parse_cfg cfg = { .flags = FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE };
	_cleanup_(diag_unref) struct fy_diag *diag = NULL;
	_cleanup_(parser_done) struct fy_parser *parser = NULL;

	*ret = (struct yaml){ 0 };
	if (len >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3)) /* byte order mark */
		r.bytes = span_skip(r.bytes, 3);
	if (len > YAML_MAX_BYTES) {
		diag_add(d, r.at, NULL, "at most 16 MiB", "the file is too big");
		return -EINVAL;
	}
	if (bytes_check(d, r.bytes) < 0)
		return -EINVAL;
	fy_diag_cfg_default(&diag_cfg);
	diag_cfg.fp = NULL;
	diag_cfg.output_fn = library_said;
	diag_cfg.user = &r;
	diag_cfg.colorize = false;
	diag = cfg.diag = fy_diag_create(&diag_cfg);
	parser = diag ? fy_parser_create(&cfg) : NULL;
	if (!parser || fy_parser_set_string(parser, r.bytes.len ? (const char *)r.bytes.data : "",
					    r.bytes.len) < 0) {
		diag_no_memory(d);
		return -ENOMEM;
	}
	return events_read(&r, parser);
}

void yaml_done(struct yaml *y)
{
	while (y->newest) {
		struct yaml_node *node = y->newest;

		y->newest = node->older;
		free(node);
	}
	y->root = NULL;
}

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	if (!map || map->kind != YAML_MAP)
		return NULL;
	for (struct yaml_node *n = map->child; n; n = n->next)
		if (!n->bad && !strcmp(n->key->text, key))
			return n;
	return NULL;
}

static struct yaml_node *first_good(struct yaml_node *n)
{
	while (n && n->bad)
		n = n->next;
	return n;
}

struct yaml_node *yaml_first(struct yaml_node *node)
{
	if (!node || node->bad)
		return NULL;
	return node->kind == YAML_LIST ? first_good(node->child) : node;
}

struct yaml_node *yaml_next(const struct yaml_node *of, const struct yaml_node *item)
{
	return of == item ? NULL : first_good(item->next);
}
