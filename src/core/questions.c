/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/questions.h"

struct question {
	uint64_t digest;
	uint16_t id;
};

/* Return: its place, or q->n. */
static uint16_t find(const struct questions *q, uint16_t id, uint64_t digest)
{
	uint16_t i = 0;

	while (i < q->n && (q->list[i].id != id || q->list[i].digest != digest))
		i++;
	return i;
}

static void drop(struct questions *q, uint16_t i)
{
	memmove(q->list + i, q->list + i + 1, (size_t)(--q->n - i) * sizeof(*q->list));
}

static bool grow(struct questions *q)
{
	uint16_t cap = q->cap ? (uint16_t)(2 * q->cap) : 2;
	struct question *list = reallocarray(q->list, cap, sizeof(*list));

	if (!list)
		return false;
	q->list = list;
	q->cap = cap;
	return true;
}

void questions_add(struct questions *q, uint16_t id, uint64_t digest)
{
	if (find(q, id, digest) < q->n)
		return;
	if (q->n >= QUESTIONS_MAX)
		drop(q, 0);
	if (q->n < q->cap || grow(q))
		q->list[q->n++] = (struct question){ .id = id, .digest = digest };
}

bool questions_have(const struct questions *q, uint16_t id)
{
	for (uint16_t i = 0; i < q->n; i++)
		if (q->list[i].id == id)
			return true;
	return false;
}

bool questions_take(struct questions *q, uint16_t id, uint64_t digest)
{
	uint16_t i = find(q, id, digest);

	if (i == q->n)
		return false;
	drop(q, i);
	if (!q->n)
		questions_done(q);
	return true;
}

void questions_done(struct questions *q)
{
	free(q->list);
	*q = (struct questions){ 0 };
}
