/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_DNS_SPLIT_H
#define TESTS_UNIT_DNS_SPLIT_H

#include "codec/dns.h"
#include "split.h"

static inline enum codec_result dns_split_parse(void *scan, struct span in, void *ret)
{
	return dns_parse(in, ret);
}

static inline bool dns_split_same(const void *a, const void *b)
{
	const struct dns_message *x = a, *y = b;

	return x->id == y->id && x->response == y->response && x->truncated == y->truncated &&
	       x->opcode == y->opcode && x->rcode == y->rcode && x->n_questions == y->n_questions &&
	       x->n_answers == y->n_answers && x->n_authority == y->n_authority &&
	       x->n_additional == y->n_additional && !strcmp(x->name, y->name) &&
	       x->type == y->type && x->class == y->class && x->question_end == y->question_end;
}

static const struct split dns_split = {
	.parse = dns_split_parse,
	.same = dns_split_same,
	.scan_bytes = 1,
	.ret_bytes = sizeof(struct dns_message),
};

#endif
