/* SPDX-License-Identifier: Apache-2.0 */
#include <strings.h>

#include "base/hostname.h"
#include "base/nameset.h"
#include "fuzz.h"

#define LINES_MAX 64

/* The definition of a match, without a hash. */
static bool matches(const char *pattern, const char *name)
{
	bool itself = true, below = false;
	size_t name_len = strlen(name), len;

	if (!strncmp(pattern, "*.", 2)) {
		itself = false;
		below = true;
		pattern += 2;
	} else if (pattern[0] == '.') {
		below = true;
		pattern++;
	}
	len = strlen(pattern);
	if (pattern[len - 1] == '.')
		len--;
	if (name_len == len)
		return itself && !strncasecmp(name, pattern, len);
	return below && name_len > len && name[name_len - len - 1] == '.' &&
	       !strncasecmp(name + name_len - len, pattern, len);
}

static void check_name(const struct nameset *s, char *const *patterns, size_t n, const char *text)
{
	char name[HOSTNAME_CAP];
	bool expect = false;

	if (hostname_parse(span_str(text), name) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		expect = expect || matches(patterns[i], name);
	REQUIRE(nameset_contains(s, name) == expect);
}

/* Each line is a pattern if it can be, and a name to ask for if it can be. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nameset *s = nameset_new(), *merged = nameset_new();
	char *text = fuzz_text(data, size), *rest = text, *line;
	char *lines[LINES_MAX], *patterns[LINES_MAX];
	size_t n_lines = 0, n = 0;

	while (n_lines < LINES_MAX && (line = strsep(&rest, "\n"))) {
		lines[n_lines++] = line;
		if (n_lines % 2 && nameset_add(s, line) == 0)
			patterns[n++] = line;
	}
	REQUIRE(nameset_count(s) <= n);
	REQUIRE(nameset_merge(merged, s) == 0 && nameset_merge(merged, s) == 0);
	REQUIRE(nameset_count(merged) == nameset_count(s));
	for (size_t i = 0; i < n_lines; i++) {
		check_name(s, patterns, n, lines[i]);
		check_name(merged, patterns, n, lines[i]);
		if (lines[i][0] == '*' || lines[i][0] == '.')
			check_name(s, patterns, n, lines[i] + 1);
		nameset_contains(s, lines[i]);
	}
	nameset_free(merged);
	nameset_free(s);
	free(text);
	return 0;
}
