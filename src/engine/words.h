/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_WORDS_H
#define ENGINE_WORDS_H

#include <stddef.h>

/**
 * struct words - "a, b, c": what an error says is accepted
 * @text:	the words so far; ends in "…" when there were more than fit
 * @wanted:	what the user wrote; NULL: no nearest is looked for
 * @nearest:	the word most like @wanted, empty if none is like it
 *
 * Zero but for @wanted is a valid initial value.
 */
struct words {
	char text[400];
	size_t len;
	const char *wanted;
	char nearest[72];
	size_t distance; /* of @nearest */
};

void words_add(struct words *w, const char *word);

/* " (perhaps 'x')", or nothing. */
const char *words_perhaps(const struct words *w, char dst[static 96]);

#endif
