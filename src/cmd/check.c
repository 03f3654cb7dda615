/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "engine/config.h"

static const char usage[] =
	"usage: limpid check --config FILE\n"
	"\n"
	"Read a configuration as serve does, say what is wrong with it, and stop there.\n"
	"\n"
	"  --config FILE  the configuration, limpid.yaml(5); - is standard input\n"
	"  --help         this text\n"
	"\n"
	"Exit status: 0 good, 1 errors (on standard error), 2 wrong usage.\n";

static int usage_refuse(const char *text)
{
	if (text)
		fprintf(stderr, "limpid check: %s\n", text);
	fputs(usage, stderr);
	return 2;
}

int cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *path = NULL;
	struct config *c;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (opt != 'c')
			return usage_refuse(NULL);
		if (path)
			return usage_refuse("--config is given twice");
		path = optarg;
	}
	if (!path)
		return usage_refuse("--config is missing");
	if (optind < argc)
		return usage_refuse("nothing is expected behind the options");
	if (config_load(path, stderr, &c) < 0)
		return 1;
	printf("%s: ok, %zu listener%s, %zu rule%s\n", path, c->n_listeners,
	       c->n_listeners == 1 ? "" : "s", c->policy->n_rules,
	       c->policy->n_rules == 1 ? "" : "s");
	config_free(c);
	return 0;
}
