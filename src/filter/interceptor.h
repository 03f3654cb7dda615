/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FILTER_INTERCEPTOR_H
#define FILTER_INTERCEPTOR_H

#include "core/flow.h"
#include "limpid/filter.h"

/* An embedder's interceptor and what it wants its open() to be given: struct interceptor.conf. */
struct interceptor_conf {
	struct limpid_interceptor ops;
	void *conf;
};

/* struct interceptor.open: ask the embedder's, and put its filters into both lanes. */
int interceptor_open(struct flow *f, const struct interceptor *i);

/* What the public headers call a flow is the flow itself. */
static inline struct limpid_flow *flow_public(struct flow *f)
{
	return (struct limpid_flow *)f;
}

static inline struct flow *flow_private(const struct limpid_flow *f)
{
	return (struct flow *)f;
}

#endif
