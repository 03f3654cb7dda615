/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"
#include "ip_tcp_split.h"

/* What is understood can be answered, and the answer is one that its sender understands. */
static void answer(const struct ip_tcp *t, struct span packet)
{
	uint8_t dst[IP_TCP_UNREACHABLE_CAP];
	struct ip_tcp rst;
	size_t n = ip_tcp_refuse(t, dst);

	REQUIRE(n <= IP_TCP_REFUSAL_CAP && ip_tcp_answer_ok(t, dst, n));
	REQUIRE(ip_tcp_parse(span_of(dst, n), &rst) == CODEC_DONE && rst.head_len == n);
	REQUIRE(addr_eq(&rst.from, &t->to) && addr_eq(&rst.to, &t->from));
	for (int why = IP_UNREACHABLE_HOST; why <= IP_UNREACHABLE_PROHIBITED; why++) {
		n = ip_tcp_unreachable(t, packet, (enum ip_unreachable)why, dst);
		REQUIRE(n <= sizeof(dst) && ip_tcp_answer_ok(t, dst, n));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct ip_tcp ret;

	if (split_check(&ip_tcp_split, in, size / 32 + 1, &ret) != CODEC_DONE)
		return 0;
	REQUIRE(ret.head_len <= size && ret.head_len <= IP_TCP_HEAD_MAX);
	REQUIRE(ret.from.family && ret.from.family == ret.to.family);
	answer(&ret, in);
	return 0;
}
