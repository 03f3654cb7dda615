/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "sys/nft.h"
#include "sys/program.h"

#define ALWAYS_SEARCHED "/usr/sbin:/sbin:/usr/local/sbin"

int nft_begin(struct nft *n, const char *script)
{
	static const char *const argv[] = { "nft", "-f", "-", NULL };
	_cleanup_close_ int in = memfd_create("nft-script", MFD_CLOEXEC);
	_cleanup_close_ int err = memfd_create("nft-complaint", MFD_CLOEXEC);
	size_t len_bytes = strlen(script);
	posix_spawn_file_actions_t actions;
	char program[512];
	int r;

	if (program_find(getenv("PATH"), "nft", X_OK, program, sizeof(program)) < 0 &&
	    program_find(ALWAYS_SEARCHED, "nft", X_OK, program, sizeof(program)) < 0)
		return -ENOENT;
	if (in < 0 || err < 0 || pwrite(in, script, len_bytes, 0) != (ssize_t)len_bytes)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
	r = posix_spawn(&n->pid, program, &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	n->complaint_fd = TAKE_FD(err);
	return 0;
}

int nft_end(struct nft *n, char *complaint, size_t cap_bytes)
{
	_cleanup_close_ int fd = TAKE_FD(n->complaint_fd);
	char line[512];
	ssize_t len;
	int status;

	complaint[0] = '\0';
	while (waitpid(n->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	len = pread(fd, line, sizeof(line) - 1, 0);
	line[len > 0 ? len : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	text_escape(span_str(line), complaint, cap_bytes);
	return -EPROTO;
}
