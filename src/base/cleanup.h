/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Scope guards: what a variable owns is released when the variable goes out of scope. */

#define _cleanup_(fn) __attribute__((cleanup(fn)))

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose_(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_free_ _cleanup_(cleanup_free_)
#define _cleanup_close_ _cleanup_(cleanup_close_)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose_)

/* The descriptor, which the variable then no longer owns. */
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *taken_from_ = &(fd);                                                          \
		int taken_ = *taken_from_;                                                         \
		*taken_from_ = -1;                                                                 \
		taken_;                                                                            \
	})

#endif
