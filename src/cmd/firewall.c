/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "engine/config.h"
#include "engine/firewall.h"

static const char usage[] =
	"usage: limpid firewall plan|up|down [--config FILE]\n"
	"\n"
	"The nft table, policy rules and routes that bring traffic to the listeners.\n"
	"\n"
	"  plan           print the commands that up would run, and change nothing\n"
	"  up             run them; what is there already is replaced\n"
	"  down           take everything back\n" OPTIONS_CONFIG_HELP "  --help         this text\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage.\n";

static int plan(const struct config *c, char *error, size_t cap)
{
	return firewall_print(c, stdout, error, cap);
}

static int up(const struct config *c, char *error, size_t cap)
{
	return firewall_up(c, FIREWALL_BY_HAND, NULL, error, cap);
}

static const struct deed {
	const char *name;
	int (*run)(const struct config *c, char *error, size_t cap);
} deeds[] = {
	{ "plan", plan },
	{ "up", up },
	{ "down", firewall_down },
	{ 0 },
};

static int run(const struct deed *deed, const char *path)
{
	struct config *config;
	char error[512];
	int r;

	if (config_load(path, stderr, &config) < 0)
		return 1;
	r = deed->run(config, error, sizeof(error));
	config_free(config);
	if (r < 0)
		fprintf(stderr, "limpid firewall %s: %s\n", deed->name, error);
	return r < 0;
}

int cmd_firewall(int argc, char **argv)
{
	const struct deed *deed = deeds;
	const char *path;
	int status;

	if (argc < 2 || argv[1][0] == '-') {
		status = options_config(argc, argv, usage, &path);
		return status < 0 ? options_refuse(argv[0], "plan, up or down is missing", usage)
				  : status;
	}
	while (deed->name && strcmp(deed->name, argv[1]))
		deed++;
	if (!deed->name)
		return options_refuse(argv[0], "this is neither plan nor up nor down", usage);
	argv[1] = argv[0];
	status = options_config(argc - 1, argv + 1, usage, &path);
	return status < 0 ? run(deed, path) : status;
}
