/* SPDX-License-Identifier: Apache-2.0 */
#include "dns_split.h"
#include "fuzz.h"

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
	/* Any place may be asked for a name. */
	for (size_t at = DNS_HEADER_BYTES; at <= size; at++) {
		size_t end = at;

		if (dns_name_parse(span_of(data, size), &end, ret.name) == CODEC_DONE)
			REQUIRE(end > at && end <= size);
	}
	return 0;
}
