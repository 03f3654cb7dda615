/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_UNIQUE_H
#define ENGINE_UNIQUE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/diag.h"

/**
 * struct unique - something that must be there once only
 * @text:	what
 * @at:		where
 * @bad:	set when it is there already; may be NULL
 */
struct unique {
	const char *text;
	struct place at;
	bool *bad;
};

/* Note each that is there already, with @wrong and the line of the first.  Sorts @list. */
void unique_check(struct unique *list, size_t n, const char *wrong, struct diag *d);

#endif
