/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seeds of one fuzz target, each given to it once: what was found once stays found, and
 * the targets are run by every compiler.  Linked with fuzz/fuzz_<name>.c; CORPUS is the folder.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes are put in memory of exactly their size. */
static int replay(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ uint8_t *data = NULL;
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0)
		return -errno;
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data)
		return -ENOMEM;
	if (fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		return -EIO;
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	return 0;
}

int main(void)
{
	DIR *dir = opendir(CORPUS);
	struct dirent *entry;
	size_t n = 0;

	if (!dir) {
		perror(CORPUS);
		return 1;
	}
	while ((entry = readdir(dir))) {
		char path[4096];
		int r;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", CORPUS, entry->d_name);
		r = replay(path);
		if (r < 0) {
			fprintf(stderr, "%s: %s\n", path, strerror(-r));
			return 1;
		}
		n++;
	}
	closedir(dir);
	printf("%zu inputs from %s\n", n, CORPUS);
	return n ? 0 : 1;
}
