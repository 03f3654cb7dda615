/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>

#include "base/list.h"

/**
 * struct pool - objects of one size for one thread, in slabs that go back when empty
 *
 * Unlike the heap, what ten thousand flows used is the kernel's again once they have ended.
 */
struct pool {
	size_t object_bytes;
	struct list partial; /* slabs with room */
	struct list full;
	unsigned int n_empty; /* slabs without an object; one is kept */
};

void pool_init(struct pool *p, size_t object_bytes);
void pool_done(struct pool *p); /* everything must have been returned */

void *pool_get(struct pool *p); /* zeroed; NULL: out of memory */
void pool_put(struct pool *p, void *object);

#endif
