/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "engine/config.h"

static const char usage[] =
	"usage: limpid check [--config FILE]\n"
	"\n"
	"Read a configuration as serve does, say what is wrong with it, and stop there.\n"
	"\n"
	OPTIONS_CONFIG_HELP
	"  --help         this text\n"
	"\n"
	"Exit status: 0 good, 1 errors (on standard error), 2 wrong usage.\n";

int cmd_check(int argc, char **argv)
{
	const char *path;
	struct config *c;
	int status = options_config(argc, argv, usage, &path);

	if (status >= 0)
		return status;
	if (config_load(path, stderr, &c) < 0)
		return 1;
	printf("%s: ok, %zu listener%s, %zu rule%s\n", path, c->n_listeners,
	       c->n_listeners == 1 ? "" : "s", c->policy->n_rules,
	       c->policy->n_rules == 1 ? "" : "s");
	config_free(c);
	return 0;
}
