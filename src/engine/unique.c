/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/unique.h"

/* By text, then by place: of two alike the later one is the duplicate. */
static int unique_compare(const void *a, const void *b)
{
	const struct unique *x = a, *y = b;
	int r = strcmp(x->text, y->text);

	if (r)
		return r;
	if (x->at.line != y->at.line)
		return x->at.line < y->at.line ? -1 : 1;
	return x->at.column < y->at.column ? -1 : x->at.column > y->at.column;
}

void unique_check(struct unique *list, size_t n, const char *wrong, struct diag *d)
{
	if (n)
		qsort(list, n, sizeof(*list), unique_compare);
	for (size_t i = 1, first = 0; i < n; i++) {
		if (strcmp(list[i].text, list[first].text)) {
			first = i;
			continue;
		}
		diag_add(d, list[i].at, list[i].text, NULL, "%s (line %u)", wrong,
			 list[first].at.line);
		if (list[i].bad)
			*list[i].bad = true;
	}
}
