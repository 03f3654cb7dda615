/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A slab is SLAB_BYTES of memory aligned to its size, so that an object
 * finds its slab by masking its own address.  Free objects of a slab form a list through their
 * first word; objects never handed out are counted by `fresh`, so a new slab touches only what
 * is used.  Under AddressSanitizer each object is a heap allocation of its own, or the
 * sanitizer would not see a use after free.
 */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/pool.h"

#define SLAB_BYTES ((size_t)64 << 10)

#if defined(__SANITIZE_ADDRESS__)
#define ONE_BY_ONE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_BY_ONE 1
#endif
#endif
#ifndef ONE_BY_ONE
#define ONE_BY_ONE 0
#endif

struct slab {
	struct list link;
	void *free;
	uint32_t used, fresh;
	_Alignas(16) uint8_t objects[];
};

static uint32_t slab_room(const struct pool *p)
{
	return (uint32_t)((SLAB_BYTES - sizeof(struct slab)) / p->object_bytes);
}

void pool_init(struct pool *p, size_t object_bytes)
{
	p->object_bytes = (object_bytes + 15) & ~(size_t)15;
	list_init(&p->partial);
	list_init(&p->full);
	p->n_empty = 0;
}

/* Memory aligned to its size: map twice as much, give back what is over. */
static struct slab *slab_new(void)
{
	uint8_t *m = mmap(NULL, 2 * SLAB_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *start;

	if (m == MAP_FAILED)
		return NULL;
	start = (uint8_t *)(((uintptr_t)m + SLAB_BYTES - 1) & ~(uintptr_t)(SLAB_BYTES - 1));
	if (start > m)
		munmap(m, (size_t)(start - m));
	munmap(start + SLAB_BYTES, (size_t)(m + SLAB_BYTES - start));
	return (struct slab *)start;
}

void pool_done(struct pool *p)
{
	struct list *i, *tmp;

	list_for_each(i, tmp, &p->partial)
		munmap(list_entry(i, struct slab, link), SLAB_BYTES);
	list_init(&p->partial);
}

void *pool_get(struct pool *p)
{
	struct slab *s;
	void *o;

	if (ONE_BY_ONE)
		return calloc(1, p->object_bytes);
	if (list_empty(&p->partial)) {
		s = slab_new();
		if (!s)
			return NULL;
		list_add_tail(&p->partial, &s->link);
		p->n_empty++;
	}
	s = list_entry(p->partial.next, struct slab, link);
	if (!s->used)
		p->n_empty--;
	s->used++;
	if (s->free) {
		o = s->free;
		memcpy(&s->free, o, sizeof(s->free));
	} else {
		o = s->objects + p->object_bytes * s->fresh++;
	}
	if (s->used == slab_room(p)) {
		list_del(&s->link);
		list_add_tail(&p->full, &s->link);
	}
	return memset(o, 0, p->object_bytes);
}

void pool_put(struct pool *p, void *object)
{
	struct slab *s = (struct slab *)((uintptr_t)object & ~(uintptr_t)(SLAB_BYTES - 1));

	if (ONE_BY_ONE) {
		free(object);
		return;
	}
	if (s->used == slab_room(p)) {
		list_del(&s->link);
		list_add_tail(&p->partial, &s->link);
	}
	memcpy(object, &s->free, sizeof(s->free));
	s->free = object;
	if (--s->used)
		return;
	if (p->n_empty) {
		list_del(&s->link);
		munmap(s, SLAB_BYTES);
		return;
	}
	p->n_empty = 1;
}
