/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hostname.h"
#include "fuzz.h"
#include "http1_split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Every split of what is short, a few of what is long. */
	size_t stride = size / 16 + 1;
	struct http1_request ret;
	char name[HOSTNAME_CAP];

	if (split_check(&http1_split, span_of(data, size), stride, &ret) != CODEC_DONE)
		return 0;
	REQUIRE(ret.head_bytes <= size && ret.head_bytes <= HTTP1_SPLIT_HEAD_MAX);
	REQUIRE(!memcmp(data + ret.head_bytes - 4, "\r\n\r\n", 4));
	for (size_t i = 0; i < ret.n_fields; i++) {
		struct span value = ret.fields[i].value;

		REQUIRE(ret.fields[i].name.len);
		REQUIRE(!value.len || (!memchr(value.data, 0, value.len) &&
				       !memchr(value.data, '\n', value.len)));
	}
	if (ret.host[0] && !ret.host_is_ip) {
		REQUIRE(hostname_parse(span_str(ret.host), name) == 0);
		REQUIRE(!strcmp(name, ret.host));
	}
	return 0;
}
