/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/password.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "core/users.h"

static const char usage[] =
	"usage: limpid users add|remove|list --file FILE [NAME]\n"
	"\n"
	"Make and change a file of users for explicit listeners, limpid.yaml(5).  add asks for\n"
	"the password on the terminal, or reads one line of standard input; a user who is there\n"
	"already gets the new password.\n"
	"\n"
	"  --file FILE  the file; made by add if it is not there\n"
	"  --help       this text\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage.\n";

static int fail(const char *what, int error)
{
	fprintf(stderr, "limpid users: %s: %s\n", what, strerror(error));
	return 1;
}

/* A line without its end, not echoed where it is typed.  Return: its length, 0 at the end. */
static size_t line_ask(const char *prompt, char **line)
{
	bool typed = isatty(STDIN_FILENO);
	struct termios before, silent;
	size_t cap = 0;
	ssize_t n;

	if (typed && !tcgetattr(STDIN_FILENO, &before)) {
		silent = before;
		silent.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
		fprintf(stderr, "%s: ", prompt);
	} else {
		typed = false;
	}
	n = getline(line, &cap, stdin);
	if (typed) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
		fputc('\n', stderr);
	}
	if (n > 0 && (*line)[n - 1] == '\n')
		n--;
	if (n > 0 && (*line)[n - 1] == '\r')
		n--;
	return n > 0 ? (size_t)n : 0;
}

static void line_free(char *line, size_t n)
{
	if (line)
		explicit_bzero(line, n);
	free(line);
}

/* Return: 0, or the exit status. */
static int password_ask(char hash[static PASSWORD_HASH_CAP])
{
	char *line = NULL, *again = NULL;
	size_t n = line_ask("password", &line), n_again = n;
	const char *wrong = NULL;
	int r = 0;

	if (!n)
		wrong = "no password";
	else if (n > PASSWORD_MAX_BYTES || memchr(line, 0, n))
		wrong = "a password has 255 bytes at most, and no NUL";
	else if (isatty(STDIN_FILENO))
		n_again = line_ask("again", &again);
	if (!wrong && (n_again != n || (again && memcmp(line, again, n) != 0)))
		wrong = "the two are not the same";
	if (wrong)
		fprintf(stderr, "limpid users: %s\n", wrong);
	else
		r = password_hash(span_of(line, n), hash);
	line_free(line, n);
	line_free(again, n_again);
	if (r < 0)
		return fail("the password", -r);
	return wrong ? 1 : 0;
}

static bool is_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(line, name, n) && line[n] == ':';
}

/* Copy @path to @out without @name; tell if it was there. */
static int copy_without(const char *path, const char *name, FILE *out, bool *ret_found)
{
	_cleanup_fclose_ FILE *in = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	*ret_found = false;
	if (!in)
		return errno == ENOENT ? 0 : -errno;
	while ((n = getline(&line, &cap, in)) >= 0) {
		if (is_of(line, name)) {
			*ret_found = true;
			continue;
		}
		fputs(line, out);
		if (n && line[n - 1] != '\n')
			fputc('\n', out);
	}
	return ferror(in) ? -errno : 0;
}

/*
 * Others who change a file of this folder wait until @ret_fd is closed: what they add would be
 * lost.  Where folders cannot be locked, as on NFS, nobody waits.
 */
static void folder_lock(const char *path, int *ret_fd)
{
	_cleanup_free_ char *copy = strdup(path);

	*ret_fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (*ret_fd >= 0)
		flock(*ret_fd, LOCK_EX);
}

/* Whoever may read the file there is, limpid under another user for one, may read the new one. */
static int keep_access(const char *path, int fd)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 0777) < 0)
		return -errno;
	return 0;
}

/* Replace the file by one without @name, or with @hash for it; all or nothing. */
static int file_change(const char *given, const char *name, const char *hash)
{
	_cleanup_free_ char *real = realpath(given, NULL), *beside = NULL;
	const char *path = real ? real : given;
	_cleanup_fclose_ FILE *out = NULL;
	_cleanup_close_ int folder = -1;
	bool found = false;
	int fd, r;

	folder_lock(path, &folder);
	if (asprintf(&beside, "%s.XXXXXX", path) < 0)
		return fail(path, ENOMEM);
	fd = mkostemp(beside, O_CLOEXEC); /* mode 0600 */
	if (fd < 0)
		return fail(path, errno);
	out = fdopen(fd, "w");
	if (!out) {
		close(fd);
		unlink(beside);
		return fail(beside, ENOMEM);
	}
	r = keep_access(path, fd);
	if (!r)
		r = copy_without(path, name, out, &found);
	if (!r && hash)
		fprintf(out, "%s:%s\n", name, hash);
	if (!r && (fflush(out) || ferror(out) || fsync(fd) < 0))
		r = errno ? -errno : -EIO;
	if (!r && !hash && !found) {
		fprintf(stderr, "limpid users: there is no user '%s'\n", name);
		unlink(beside);
		return 1;
	}
	if (!r && rename(beside, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(beside);
	return r < 0 ? fail(path, -r) : 0;
}

static int list(const char *path)
{
	_cleanup_fclose_ FILE *in = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;

	if (!in)
		return fail(path, errno);
	while (getline(&line, &cap, in) >= 0)
		if (*line != '#' && strchr(line, ':'))
			printf("%.*s\n", (int)strcspn(line, ":"), line);
	return 0;
}

static bool name_ok(const char *name)
{
	size_t n = strlen(name);

	if (!n || n > USER_NAME_MAX_BYTES || *name == '#')
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f || name[i] == ':')
			return false;
	return true;
}

static int add(const char *path, const char *name)
{
	char hash[PASSWORD_HASH_CAP];
	int status = password_ask(hash);

	return status ? status : file_change(path, name, hash);
}

int cmd_users(int argc, char **argv)
{
	static const struct option options[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *path = NULL, *what, *name;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (opt != 'f')
			return options_refuse(argv[0], NULL, usage);
		path = optarg;
	}
	what = optind < argc ? argv[optind] : "";
	name = optind + 1 < argc ? argv[optind + 1] : NULL;
	if (!path)
		return options_refuse(argv[0], "--file is missing", usage);
	if (!strcmp(what, "list") && !name)
		return list(path);
	if ((strcmp(what, "add") != 0 && strcmp(what, "remove") != 0) || !name ||
	    optind + 2 < argc)
		return options_refuse(argv[0], "add NAME, remove NAME or list is expected", usage);
	if (!name_ok(name))
		return options_refuse(argv[0], "a name has no space, no colon, and no # in front",
				      usage);
	return *what == 'a' ? add(path, name) : file_change(path, name, NULL);
}
