/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"
#include "proxy_header_split.h"

static bool within(struct span s, const uint8_t *data, size_t n)
{
	return !s.len || (s.data >= data && s.data + s.len <= data + n);
}

/* What is written of what was read is read as the same. */
static void write_and_read(const struct proxy_header *h, uint8_t version)
{
	uint8_t out[PROXY_HEADER_WRITE_CAP];
	struct proxy_header again;
	struct span authority = version == 2 ? h->authority : span_of(NULL, 0);
	size_t n = proxy_header_write(out, version, &h->source, &h->destination, false, authority);

	REQUIRE(n <= (version == 1 ? PROXY_V1_MAX_BYTES : sizeof(out)));
	REQUIRE(proxy_header_parse(span_of(out, n), &again) == CODEC_DONE && again.bytes == n);
	REQUIRE(addr_eq(&again.source, &h->source));
	REQUIRE(addr_eq(&again.destination, &h->destination));
	if (authority.len <= PROXY_AUTHORITY_MAX_BYTES)
		REQUIRE(again.authority.len == authority.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header h;

	if (split_check(&proxy_header_split, span_of(data, size), size / 64 + 1, &h) != CODEC_DONE)
		return 0;
	REQUIRE(h.bytes <= size && (h.version == 1 || h.version == 2));
	REQUIRE(!h.source.family == !h.destination.family);
	REQUIRE(within(h.alpn, data, h.bytes) && within(h.authority, data, h.bytes) &&
		within(h.unique_id, data, h.bytes) && within(h.netns, data, h.bytes) &&
		within(h.ssl_version, data, h.bytes) && within(h.ssl_cn, data, h.bytes) &&
		within(h.ssl_cipher, data, h.bytes));
	write_and_read(&h, 1);
	write_and_read(&h, 2);
	return 0;
}
