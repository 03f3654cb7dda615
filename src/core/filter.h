/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_FILTER_H
#define CORE_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/span.h"

struct filter;

/* What a filter wants done with the bytes it was shown. */
enum filter_verdict {
	FILTER_PASS,	/* send them on */
	FILTER_REPLACE, /* send what it put into @out instead (nothing: drop) */
	FILTER_HOLD,	/* keep them; show them again, with more behind */
	FILTER_END,	/* end the flow */
};

/**
 * struct filter_ops - one kind of filter
 * @data:	shown bytes of one lane in order; @end: nothing will follow.  @out is empty at first
 *		and used with FILTER_REPLACE.  At @end FILTER_HOLD means FILTER_PASS
 * @free:	release the filter's own state
 */
struct filter_ops {
	const char *name;
	enum filter_verdict (*data)(struct filter *f, struct span in, bool end, struct buf *out);
	void (*free)(struct filter *f);
};

/**
 * struct filter - one filter in one lane, embedded in the filter's own state
 * @held:	bytes it asked to keep
 * @leave:	set by the filter: it has seen enough; what it holds goes on and it is removed.
 *		Set outside of @data, lane->stirred tells the lane to look for it
 */
struct filter {
	struct list link;
	const struct filter_ops *ops;
	struct buf held;
	bool leave;
};

/* Bytes one filter may hold. */
#define FILTER_HOLD_MAX_BYTES ((size_t)256 << 10)
/* Bytes one filter may put out for one call. */
#define FILTER_OUT_MAX_BYTES ((size_t)1 << 20)

/**
 * filter_run() - show bytes to a filter
 * @ret_out:	what is to go on; points into @in or @scratch
 * @scratch:	empty; room for what it makes, owned by the caller
 *
 * Return: 0; -EMSGSIZE (it held or put out too much), -ECONNABORTED (FILTER_END), -ENOMEM.
 */
int filter_run(struct filter *f, struct span in, bool end, struct buf *scratch,
	       struct span *ret_out);

void filter_remove(struct filter *f);

#endif
