/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/diag.h"

#define LINES_MAX 200
#define WORD_CAP 128

struct diag_line {
	struct place at; /* in the configuration: the order of printing */
	uint32_t line;	 /* in another file, 0: this is about the configuration */
	size_t seq;
	char *text;
};

void diag_no_memory(struct diag *d)
{
	d->no_memory = true;
}

bool diag_failed(const struct diag *d)
{
	return d->n || d->no_memory;
}

/* Takes over @text. */
static void line_add(struct diag *d, struct place at, uint32_t line, char *text)
{
	if (d->n == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 16;
		struct diag_line *lines = reallocarray(d->lines, cap, sizeof(*lines));

		if (!lines) {
			free(text);
			diag_no_memory(d);
			return;
		}
		d->lines = lines;
		d->cap = cap;
	}
	d->lines[d->n] = (struct diag_line){ .at = at, .line = line, .seq = d->n, .text = text };
	d->n++;
}

/* Room for one more line?  If not, it is counted. */
static bool line_wanted(struct diag *d)
{
	if (d->n < LINES_MAX)
		return true;
	d->n_dropped++;
	return false;
}

static char *line_text(const char *path, uint32_t line, uint32_t column, const char *text,
		       const char *word, const char *accepted)
{
	char path_escaped[4 * 256], word_escaped[WORD_CAP];
	char *ret;
	int r;

	text_escape(span_str(path), path_escaped, sizeof(path_escaped));
	if (word)
		text_escape(span_str(word), word_escaped, sizeof(word_escaped));
	r = asprintf(&ret, "%s:%u:%u: %s%s%s%s%s%s", path_escaped, line, column, text,
		     word ? ": '" : "", word ? word_escaped : "", word ? "'" : "",
		     accepted ? "; accepted: " : "", accepted ? accepted : "");
	return r < 0 ? NULL : ret;
}

void diag_add(struct diag *d, struct place at, const char *word, const char *accepted,
	      const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	char *line;
	va_list ap;
	int r;

	if (!line_wanted(d))
		return;
	va_start(ap, fmt);
	r = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (r < 0) {
		text = NULL;
		diag_no_memory(d);
		return;
	}
	line = line_text(d->path, at.line, at.column, text, word, accepted);
	if (line)
		line_add(d, at, 0, line);
	else
		diag_no_memory(d);
}

void diag_add_in(struct diag *d, struct place at, const char *path, uint32_t line, const char *word,
		 const char *accepted, const char *text)
{
	char *whole;

	if (!line_wanted(d))
		return;
	whole = line_text(path, line, 1, text, word, accepted);
	if (whole)
		line_add(d, at, line, whole);
	else
		diag_no_memory(d);
}

static int line_compare(const void *a, const void *b)
{
	const struct diag_line *x = a, *y = b;

	if (x->at.line != y->at.line)
		return x->at.line < y->at.line ? -1 : 1;
	if (x->at.column != y->at.column)
		return x->at.column < y->at.column ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

void diag_print(struct diag *d, FILE *to)
{
	struct place last = { 1, 1 };

	if (d->n) {
		qsort(d->lines, d->n, sizeof(*d->lines), line_compare);
		last = d->lines[d->n - 1].at;
	}
	for (size_t i = 0; i < d->n; i++)
		fprintf(to, "%s\n", d->lines[i].text);
	if (d->n_dropped)
		fprintf(to, "%s:%u:%u: and %zu more errors\n", d->path, last.line, last.column,
			d->n_dropped);
	if (d->no_memory)
		fprintf(to, "%s:%u:%u: out of memory\n", d->path, last.line, last.column);
	diag_done(d);
}

void diag_done(struct diag *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->lines[i].text);
	free(d->lines);
	d->lines = NULL;
	d->n = d->cap = d->n_dropped = 0;
	d->no_memory = false;
}
