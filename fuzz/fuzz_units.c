/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "base/units.h"
#include "fuzz.h"

/* Print with the smallest unit, read back. */
static void check_units(const char *text)
{
	char printed[64];
	uint64_t bytes, bytes_again;
	uint32_t ms, ms_again;

	if (units_parse_time(text, &ms) == 0) {
		snprintf(printed, sizeof(printed), "%ums", ms);
		REQUIRE(units_parse_time(printed, &ms_again) == 0 && ms_again == ms);
	}
	if (units_parse_size(text, &bytes) == 0) {
		snprintf(printed, sizeof(printed), "%lluB", (unsigned long long)bytes);
		REQUIRE(units_parse_size(printed, &bytes_again) == 0 && bytes_again == bytes);
	}
}

/* Whatever the room: printable, terminated, a beginning of the whole. */
static void check_escape(struct span s)
{
	char *whole = malloc(4 * s.len + 8);

	text_escape(s, whole, 4 * s.len + 8);
	for (size_t cap = 8; cap < 64; cap++) {
		char *cut = malloc(cap);
		size_t len = strlen(text_escape(s, cut, cap));

		REQUIRE(len < cap);
		for (size_t i = 0; i < len; i++)
			REQUIRE(cut[i] >= ' ' && cut[i] < 0x7f);
		if (strlen(whole) < cap)
			REQUIRE(!strcmp(whole, cut));
		else
			REQUIRE(!strcmp(cut + len - 3, "...") && !memcmp(whole, cut, len - 3));
		free(cut);
	}
	free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);

	check_units(text);
	check_escape(span_of(data, size));
	free(text);
	return 0;
}
