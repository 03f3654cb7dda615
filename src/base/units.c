/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"

struct unit {
	const char *word;
	uint64_t factor;
};

static const struct unit time_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 }, { "d", 86400 * 1000 },
};

static const struct unit size_units[] = {
	{ "B", 1 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "GiB", UINT64_C(1) << 30 },
};

/* Digits, then one word of @units; only "0" goes without. */
static int quantity_parse(const char *text, const struct unit *units, size_t n_units, uint64_t max,
			  uint64_t *ret)
{
	size_t n_digits = strspn(text, "0123456789");
	const char *word = text + n_digits;
	uint64_t factor = 0, n = 0;

	if (!n_digits)
		return -EINVAL;
	for (size_t i = 0; i < n_units; i++)
		if (!strcmp(word, units[i].word))
			factor = units[i].factor;
	if (!factor && strcmp(text, "0"))
		return -EINVAL;
	for (; text < word; text++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return -ERANGE;
	if (__builtin_mul_overflow(n, factor, &n) || n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

int units_parse_time(const char *text, uint32_t *ret_ms)
{
	uint64_t ms;
	int r = quantity_parse(text, time_units, ARRAY_SIZE(time_units), UINT32_MAX, &ms);

	if (r < 0)
		return r;
	*ret_ms = (uint32_t)ms;
	return 0;
}

int units_parse_size(const char *text, uint64_t *ret_bytes)
{
	return quantity_parse(text, size_units, ARRAY_SIZE(size_units), UINT64_MAX, ret_bytes);
}
