/* SPDX-License-Identifier: Apache-2.0 */
#include "dns_split.h"
#include "fuzz.h"

static void check_answer(struct span in, const struct dns_message *m)
{
	struct addr found[DNS_ADDRESSES_MAX];
	uint8_t empty[DNS_EMPTY_CAP];
	struct dns_message back;
	uint32_t ttl_s;
	size_t n = dns_addresses(in, m, found, &ttl_s);

	REQUIRE(n <= DNS_ADDRESSES_MAX && (!n || ttl_s <= INT32_MAX));
	for (size_t i = 0; i < n; i++)
		REQUIRE((found[i].family == 4 || found[i].family == 6) && !found[i].port);
	(void)dns_edns(in, m);
	(void)dns_records_fault(in, m);
	n = dns_empty_answer(in, m->question_end, DNS_SERVFAIL, false, dns_edns(in, m), empty);
	REQUIRE(n <= DNS_EMPTY_CAP && dns_parse(span_of(empty, n), &back) == CODEC_DONE);
	REQUIRE(back.response && back.n_questions <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Every split of what is short, a few of what is long. */
	size_t stride = size / 16 + 1;
	struct dns_message ret;

	if (split_check(&dns_split, span_of(data, size), stride, &ret) != CODEC_DONE)
		return 0;
	REQUIRE(ret.question_end <= size && strlen(ret.name) < DNS_NAME_CAP);
	for (const char *p = ret.name; *p; p++)
		REQUIRE(*p > 0x20 && *p < 0x7f && !(*p >= 'A' && *p <= 'Z'));
	check_answer(span_of(data, size), &ret);
	/* Any place may be asked for a name. */
	for (size_t at = DNS_HEADER_BYTES; at <= size; at++) {
		size_t end = at;

		if (dns_name_parse(span_of(data, size), &end, ret.name) == CODEC_DONE)
			REQUIRE(end > at && end <= size);
	}
	return 0;
}
