/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/file.h"

char *file_folder(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

char *file_below(const char *folder, const char *path)
{
	char *ret;

	if (path[0] == '/' || !strcmp(folder, "."))
		return strdup(path);
	return asprintf(&ret, "%s/%s", folder, path) < 0 ? NULL : ret;
}

int file_read(const char *path, size_t max_bytes, char **ret_bytes, size_t *ret_len)
{
	_cleanup_close_ int opened = -1;
	_cleanup_free_ char *bytes = malloc(4096);
	size_t len = 0, cap = 4096;
	int fd = STDIN_FILENO;

	if (!bytes)
		return -ENOMEM;
	if (strcmp(path, "-")) {
		fd = opened = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	}
	while (len <= max_bytes) {
		ssize_t n;

		if (len == cap) {
			char *more = realloc(bytes, cap *= 2);

			if (!more)
				return -ENOMEM;
			bytes = more;
		}
		n = read(fd, bytes + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	*ret_bytes = TAKE_PTR(bytes);
	return 0;
}
