/* SPDX-License-Identifier: Apache-2.0 */
#include "dns_frames_split.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Every split of what is short, a few of what is long. */
	size_t stride = size / 16 + 1;
	static const size_t wanted_bytes[] = { DNS_HEADER_BYTES, 271, UINT16_MAX };

	for (size_t i = 0; i < 3; i++) {
		struct dns_frames_heard h =
			dns_frames_split_check(span_of(data, size), stride, wanted_bytes[i]);

		REQUIRE(h.messages.len <= size);
		buf_done(&h.messages);
	}
	return 0;
}
