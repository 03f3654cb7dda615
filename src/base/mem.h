/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *taken_from_ = &(p);                                                 \
		__typeof__(p) taken_ = *taken_from_;                                               \
		*taken_from_ = NULL;                                                               \
		taken_;                                                                            \
	})

/* One zeroed object, or NULL. */
#define NEW0(type) ((type *)calloc(1, sizeof(type)))

#endif
