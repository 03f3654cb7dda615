/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DIAG_H
#define ENGINE_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Where something stands in a file; both count from 1. */
struct place {
	uint32_t line, column;
};

/**
 * struct diag - the errors found in a configuration, until they are printed in line order
 * @path:	the configuration as the user calls it; borrowed
 * @lines:	what was found, in the order of finding
 * @n_dropped:	errors beyond the first 200, counted only
 * @no_memory:	an error could not even be noted
 *
 * Zero but for @path is a valid initial value.
 */
struct diag {
	const char *path;
	struct diag_line *lines;
	size_t n, cap;
	size_t n_dropped;
	bool no_memory;
};

/**
 * diag_add() - note an error
 * @at:		where in the configuration
 * @word:	the offending word, quoted and escaped in the line; NULL: none
 * @accepted:	what would be right; NULL: the text says it
 * @fmt:	what is wrong.  Words of the user in it must have been escaped
 */
void diag_add(struct diag *d, struct place at, const char *word, const char *accepted,
	      const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The same about line @line of another file, which the configuration names at @at. */
void diag_add_in(struct diag *d, struct place at, const char *path, uint32_t line, const char *word,
		 const char *accepted, const char *text);

/* No memory is left; all further work is in vain. */
void diag_no_memory(struct diag *d);

bool diag_failed(const struct diag *d);

/* Print all, one line each, in the order of the places, and free them. */
void diag_print(struct diag *d, FILE *to);

/* Free them unsaid. */
void diag_done(struct diag *d);

#endif
