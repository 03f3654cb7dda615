/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sys/program.h"

int program_find(const char *path, const char *name, int mode, char *dst, size_t cap_bytes)
{
	while (path && *path) {
		size_t len = strcspn(path, ":");
		int n = snprintf(dst, cap_bytes, "%.*s/%s", (int)len, path, name);

		if (len && n > 0 && (size_t)n < cap_bytes && !access(dst, mode))
			return 0;
		path += len + (path[len] == ':');
	}
	return -ENOENT;
}
