/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hostname.h"
#include "fuzz.h"
#include "tls_hello_split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Every split of what is short, a few of what is long. */
	size_t stride = size / 16 + 1;
	struct tls_hello ret;
	char name[HOSTNAME_CAP];

	if (split_check(&tls_hello_split, span_of(data, size), stride, &ret) != CODEC_DONE)
		return 0;
	REQUIRE(strlen(ret.sni) < HOSTNAME_CAP && ret.wire_bytes <= size);
	REQUIRE(ret.message_bytes <= TLS_HELLO_MAX_BYTES);
	if (ret.sni[0]) {
		REQUIRE(hostname_parse(span_str(ret.sni), name) == 0);
		REQUIRE(!strcmp(name, ret.sni));
	}
	for (const char *p = ret.alpn; *p; p++)
		REQUIRE(*p > 0x20 && *p < 0x7f);
	return 0;
}
