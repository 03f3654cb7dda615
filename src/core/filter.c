/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "core/filter.h"

static enum filter_verdict show(struct filter *f, struct span in, bool end, struct buf *out)
{
	if (f->leave) /* it is only waiting to be removed */
		return FILTER_PASS;
	return f->ops->data(f, in, end, out);
}

int filter_run(struct filter *f, struct span in, bool end, struct buf *scratch,
	       struct span *ret_out)
{
	bool holds = f->held.len > 0;
	int r;

	if (holds) {
		/* the limit is for what it keeps, not for what it is shown */
		r = buf_append(&f->held, in, FILTER_HOLD_MAX_BYTES + in.len);
		if (r < 0)
			return r;
	}
	switch (show(f, holds ? buf_span(&f->held) : in, end, scratch)) {
	case FILTER_HOLD:
		if (!end && !f->leave) {
			*ret_out = span_of(NULL, 0);
			if (!holds)
				return buf_append(&f->held, in, FILTER_HOLD_MAX_BYTES);
			return f->held.len > FILTER_HOLD_MAX_BYTES ? -EMSGSIZE : 0;
		}
		break;
	case FILTER_PASS:
		break;
	case FILTER_REPLACE:
		buf_done(&f->held);
		*ret_out = buf_span(scratch);
		return scratch->len > FILTER_OUT_MAX_BYTES ? -EMSGSIZE : 0;
	case FILTER_END:
		return -ECONNABORTED;
	}
	if (holds) { /* what it held goes on, and is no longer its own */
		buf_done(scratch);
		*scratch = f->held;
		f->held = (struct buf){ 0 };
		in = buf_span(scratch);
	}
	*ret_out = in;
	return 0;
}

void filter_remove(struct filter *f)
{
	list_del(&f->link);
	buf_done(&f->held);
	if (f->ops->free)
		f->ops->free(f);
}
