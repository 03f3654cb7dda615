/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"
#include "fuzz.h"

/* What was read and printed reads back as the same. */
static void check_addr(const char *text)
{
	char printed[ADDR_TEXT_MAX], again[ADDR_TEXT_MAX];
	struct addr a, b;

	if (addr_parse(text, &a) < 0)
		return;
	addr_format(&a, printed);
	REQUIRE(addr_parse(printed, &b) == 0);
	REQUIRE(addr_eq(&a, &b));
	REQUIRE(!strcmp(addr_format(&b, again), printed));
}

static void check_ip(const char *text)
{
	char printed[ADDR_TEXT_MAX];
	struct addr a, b;

	if (addr_parse_ip(text, &a) < 0)
		return;
	REQUIRE(addr_parse_ip(addr_format_ip(&a, printed), &b) == 0);
	REQUIRE(addr_eq(&a, &b));
}

/* Any address prints, and reads back. */
static void check_bytes(const uint8_t *data, size_t size)
{
	char printed[ADDR_TEXT_MAX];
	struct addr a = { .family = 6, .port = (uint16_t)size }, b;

	if (size < 17)
		return;
	a.scope_id = data[0];
	memcpy(a.ip, data + 1, sizeof(a.ip));
	addr_unmap(&a);
	REQUIRE(addr_parse(addr_format(&a, printed), &b) == 0);
	REQUIRE(addr_eq(&a, &b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);

	check_addr(text);
	check_ip(text);
	check_bytes(data, size);
	free(text);
	return 0;
}
