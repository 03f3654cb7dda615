/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_HTTP1_SPLIT_H
#define TESTS_UNIT_HTTP1_SPLIT_H

#include "codec/http1.h"
#include "split.h"

#define HTTP1_SPLIT_HEAD_MAX 8192

static inline enum codec_result http1_split_parse(void *scan, struct span in, void *ret)
{
	return http1_request_parse(scan, in, HTTP1_SPLIT_HEAD_MAX, ret);
}

static inline bool http1_split_same(const void *a, const void *b)
{
	const struct http1_request *x = a, *y = b;

	if (!span_eq(x->method, y->method) || !span_eq(x->target, y->target) ||
	    x->form != y->form || x->minor != y->minor || strcmp(x->host, y->host) ||
	    x->host_is_ip != y->host_is_ip || x->host_missing != y->host_missing ||
	    x->port != y->port || !span_eq(x->user_agent, y->user_agent) ||
	    x->head_bytes != y->head_bytes || x->n_fields != y->n_fields)
		return false;
	for (size_t i = 0; i < x->n_fields; i++)
		if (!span_eq(x->fields[i].name, y->fields[i].name) ||
		    !span_eq(x->fields[i].value, y->fields[i].value))
			return false;
	return true;
}

static const struct split http1_split = {
	.parse = http1_split_parse,
	.same = http1_split_same,
	.scan_bytes = sizeof(struct http1_scan),
	.ret_bytes = sizeof(struct http1_request),
};

#endif
