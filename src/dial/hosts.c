/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "dial/hosts.h"

/* Does the rest of a line, after the address, have @name? */
static bool line_names(char **rest, const char *name)
{
	const char *word;

	while ((word = strsep(rest, " \t\r\n"))) {
		size_t len = strlen(word);

		if (len && word[len - 1] == '.')
			len--;
		if (len == strlen(name) && !strncasecmp(word, name, len))
			return true;
	}
	return false;
}

int hosts_find(const char *path, const char *name, uint8_t family, struct addr *ret,
	       unsigned int cap)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	bool known = false;
	unsigned int n = 0;
	size_t size = 0;

	while (f && getline(&line, &size, f) >= 0) {
		char *rest = line + strspn(line, " \t"), *word;
		struct addr a;

		rest[strcspn(rest, "#")] = '\0';
		word = strsep(&rest, " \t\r\n");
		if (!rest || addr_parse_ip(word, &a) < 0 || !line_names(&rest, name))
			continue;
		known = true;
		if (a.family == family && n < cap)
			ret[n++] = a;
	}
	return known ? (int)n : -ENOENT;
}
