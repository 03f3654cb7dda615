/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/cmd.h"

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *text;
} verbs[] = {
	{ "run", cmd_run, "intercept one command; no privileges, nothing changed on the host" },
	{ "serve", cmd_serve, "intercept what the firewall sends here" },
	{ "firewall", cmd_firewall, "the rules that bring traffic here: shown, set up, taken back" },
	{ "check", cmd_check, "read a configuration and say what is wrong with it" },
	{ "users", cmd_users, "make and change a file of users" },
	{ "doctor", cmd_doctor, "say what on this host would break interception" },
};

static void usage(FILE *f)
{
	fputs("usage: limpid VERB [ARGUMENT...]\n"
	      "\n"
	      "A transparent intercepting proxy.  The verbs:\n"
	      "\n",
	      f);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(f, "  %-9s %s\n", verbs[i].name, verbs[i].text);
	fputs("\n"
	      "  --help     this text; VERB --help says more\n"
	      "  --version  the version\n",
	      f);
}

/*
 * A standard descriptor that is closed must not become a socket of a flow: what is logged would
 * be sent there.  Close-on-exec: for the command of run it stays closed.
 */
static void take_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* What was printed for people or programs has arrived, or it was no success. */
static int status_of(int status)
{
	if (!ferror(stdout) && !fflush(stdout))
		return status;
	fprintf(stderr, "limpid: cannot write to standard output: %s\n", strerror(errno));
	return status ? status : 1;
}

int main(int argc, char **argv)
{
	take_standard_descriptors();
	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("limpid " LIMPID_VERSION);
		return 0;
	}
	/* Ignored, as whoever started us may have it, it takes the status of the programs that are
	 * run.  The command of run is to have it as it was. */
	if (strcmp(argv[1], "run") != 0)
		signal(SIGCHLD, SIG_DFL);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(argv[1], verbs[i].name))
			return status_of(verbs[i].run(argc - 1, argv + 1));
	fprintf(stderr, "limpid: no verb '%s'\n", argv[1]);
	usage(stderr);
	return 2;
}
