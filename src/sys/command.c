/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "sys/command.h"
#include "sys/program.h"

#define ALWAYS_SEARCHED "/usr/sbin:/sbin:/usr/local/sbin"
#define WORDS_MAX 32

/* The words of @line, which is cut into them. */
static int split(char *line, char *argv[static WORDS_MAX])
{
	char *rest = NULL;
	int n = 0;

	for (char *w = strtok_r(line, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) {
		if (n + 1 == WORDS_MAX)
			return -E2BIG;
		argv[n++] = w;
	}
	argv[n] = NULL;
	return n ? 0 : -EINVAL;
}

int command_begin(struct command *c, const char *line, const char *input)
{
	_cleanup_close_ int in = memfd_create("input", MFD_CLOEXEC);
	_cleanup_close_ int err = memfd_create("complaint", MFD_CLOEXEC);
	_cleanup_free_ char *words = strdup(line);
	size_t len_bytes = input ? strlen(input) : 0;
	posix_spawn_file_actions_t actions;
	char program[512], *argv[WORDS_MAX];
	int r;

	if (in < 0 || err < 0 || !words ||
	    (len_bytes && pwrite(in, input, len_bytes, 0) != (ssize_t)len_bytes))
		return -errno;
	r = split(words, argv);
	if (r < 0)
		return r;
	if (program_find(getenv("PATH"), argv[0], X_OK, program, sizeof(program)) < 0 &&
	    program_find(ALWAYS_SEARCHED, argv[0], X_OK, program, sizeof(program)) < 0)
		return -ENOENT;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
	r = posix_spawn(&c->pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	c->complaint_fd = TAKE_FD(err);
	return 0;
}

int command_end(struct command *c, char *complaint, size_t cap_bytes)
{
	_cleanup_close_ int fd = TAKE_FD(c->complaint_fd);
	char line[512];
	ssize_t len;
	int status;

	complaint[0] = '\0';
	while (waitpid(c->pid, &status, 0) < 0)
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
