/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
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

static int find(const char *name, char *dst, size_t cap_bytes)
{
	int r = program_find(getenv("PATH"), name, X_OK, dst, cap_bytes);

	return r < 0 ? program_find(ALWAYS_SEARCHED, name, X_OK, dst, cap_bytes) : 0;
}

bool command_exists(const char *name)
{
	char path[512];

	return !find(name, path, sizeof(path));
}

int command_begin(struct command *c, const char *line, const char *input)
{
	_cleanup_close_ int in = memfd_create("input", MFD_CLOEXEC);
	_cleanup_close_ int out = memfd_create("output", MFD_CLOEXEC);
	_cleanup_close_ int err = memfd_create("complaint", MFD_CLOEXEC);
	_cleanup_free_ char *words = strdup(line);
	size_t len_bytes = input ? strlen(input) : 0;
	posix_spawn_file_actions_t actions;
	char program[512], *argv[WORDS_MAX];
	int r;

	if (in < 0 || out < 0 || err < 0 || !words ||
	    (len_bytes && pwrite(in, input, len_bytes, 0) != (ssize_t)len_bytes))
		return -errno;
	r = split(words, argv);
	if (r < 0)
		return r;
	r = find(argv[0], program, sizeof(program));
	if (r < 0)
		return r;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
	r = posix_spawn(&c->pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	c->output_fd = TAKE_FD(out);
	c->complaint_fd = TAKE_FD(err);
	return 0;
}

static int wait_for(const struct command *c)
{
	int status;

	while (waitpid(c->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EPROTO;
}

/* The whole of what was written into @fd. */
static int read_all(int fd, size_t limit_bytes, char **ret)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((size_t)st.st_size > limit_bytes)
		return -EMSGSIZE;
	text = calloc(1, (size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	if (pread(fd, text, (size_t)st.st_size, 0) != (ssize_t)st.st_size)
		return -EIO;
	*ret = TAKE_PTR(text);
	return 0;
}

int command_end(struct command *c, char *complaint, size_t cap_bytes)
{
	_cleanup_close_ int out = TAKE_FD(c->output_fd);
	_cleanup_close_ int err = TAKE_FD(c->complaint_fd);
	char line[512];
	ssize_t len;
	int r;

	complaint[0] = '\0';
	r = wait_for(c);
	if (r != -EPROTO)
		return r;
	len = pread(err, line, sizeof(line) - 1, 0);
	if (len <= 0)
		len = pread(out, line, sizeof(line) - 1, 0);
	line[len > 0 ? len : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	text_escape(span_str(line), complaint, cap_bytes);
	return r;
}

int command_read(const char *line, size_t limit_bytes, char **ret, char *complaint,
		 size_t cap_bytes)
{
	_cleanup_close_ int out = -1;
	struct command c;
	int r;

	complaint[0] = '\0';
	r = command_begin(&c, line, NULL);
	if (r < 0)
		return r;
	out = dup(c.output_fd);
	r = command_end(&c, complaint, cap_bytes);
	if (r < 0)
		return r;
	return out < 0 ? -EMFILE : read_all(out, limit_bytes, ret);
}
