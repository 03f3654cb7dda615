/* SPDX-License-Identifier: Apache-2.0 */
#include "base/netset.h"
#include "fuzz.h"

/*
 * Each line is a network for one set, and for a set of its own.  The big set contains an
 * address exactly when one of the small ones does.
 */
#define LINES_MAX 32

static void check_agree(const struct netset *all, struct netset *const *each, size_t n,
			const struct addr *a)
{
	bool expect = false;

	for (size_t i = 0; i < n; i++)
		expect = expect || netset_contains(each[i], a);
	REQUIRE(netset_contains(all, a) == expect);
}

static void check_probes(const struct netset *all, struct netset *const *each, size_t n,
			 const uint8_t *data, size_t size)
{
	for (size_t at = 0; at + 16 <= size && at < 256; at++) {
		struct addr a = { .family = at & 1 ? 4 : 6 };

		memcpy(a.ip, data + at, at & 1 ? 4 : 16);
		check_agree(all, each, n, &a);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct netset *all = netset_new(), *merged = netset_new(), *each[LINES_MAX];
	char *text = fuzz_text(data, size), *rest = text, *line;
	struct addr probes[LINES_MAX];
	size_t n = 0, n_probes = 0;

	while (n < LINES_MAX && (line = strsep(&rest, "\n"))) {
		int r = netset_add(all, line);

		if (n_probes < LINES_MAX && addr_parse_ip(line, &probes[n_probes]) == 0)
			n_probes++;
		if (r < 0)
			continue;
		each[n] = netset_new();
		REQUIRE(netset_add(each[n], line) == 0);
		netset_seal(each[n]);
		REQUIRE(netset_count(each[n]) == 1);
		n++;
	}
	REQUIRE(netset_count(all) == n);
	for (size_t i = 0; i < n; i++)
		REQUIRE(netset_merge(merged, each[i]) == 0);
	netset_seal(all);
	netset_seal(merged);
	REQUIRE(netset_count(all) <= n && netset_count(merged) == netset_count(all));
	for (size_t i = 0; i < n_probes; i++)
		check_agree(all, each, n, &probes[i]);
	check_probes(all, each, n, data, size);
	check_probes(merged, each, n, data, size);
	while (n)
		netset_free(each[--n]);
	netset_free(merged);
	netset_free(all);
	free(text);
	return 0;
}
