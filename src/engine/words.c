/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "engine/words.h"

#define LIKE_CHARS 71 /* longer words are like nothing */

static size_t min2(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * How many characters to put in, take out, replace or swap with their neighbour (optimal string
 * alignment); three rows of the table are kept.
 */
static size_t words_distance(const char *a, const char *b)
{
	size_t rows[3][LIKE_CHARS + 2] = { 0 };
	size_t *older = rows[0], *old = rows[1], *now = rows[2], *spare;
	size_t n_a = strlen(a), n_b = strlen(b);

	for (size_t j = 0; j <= n_b; j++)
		old[j] = j;
	for (size_t i = 1; i <= n_a; i++) {
		now[0] = i;
		for (size_t j = 1; j <= n_b; j++) {
			size_t d = old[j - 1] + (a[i - 1] != b[j - 1]);

			d = min2(d, min2(old[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d = min2(d, older[j - 2] + 1);
			now[j] = d;
		}
		spare = older;
		older = old;
		old = now;
		now = spare;
	}
	return old[n_b];
}

static void nearest_try(struct words *w, const char *word)
{
	size_t len = strlen(word), distance;

	if (len > LIKE_CHARS || strlen(w->wanted) > LIKE_CHARS)
		return;
	distance = words_distance(w->wanted, word);
	if (distance > 1 + len / 4 || distance * 2 >= len)
		return;
	if (w->nearest[0] && distance >= w->distance)
		return;
	memcpy(w->nearest, word, len + 1);
	w->distance = distance;
}

void words_add(struct words *w, const char *word)
{
	static const char more[] = ", …";
	size_t len = strlen(word), comma = w->len ? 2 : 0;

	if (w->wanted)
		nearest_try(w, word);
	if (w->len >= sizeof(w->text) - sizeof(more))
		return;
	if (w->len + comma + len + sizeof(more) > sizeof(w->text)) {
		memcpy(w->text + w->len, more, sizeof(more));
		w->len = sizeof(w->text);
		return;
	}
	memcpy(w->text + w->len, ", ", comma);
	memcpy(w->text + w->len + comma, word, len + 1);
	w->len += comma + len;
}

const char *words_perhaps(const struct words *w, char dst[static 96])
{
	dst[0] = '\0';
	if (w->nearest[0])
		snprintf(dst, 96, " (perhaps '%s')", w->nearest);
	return dst;
}
