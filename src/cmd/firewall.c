/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "engine/config.h"
#include "engine/firewall.h"

static const char usage[] =
	"usage: limpid firewall plan|up|down [--config FILE] [--for WHERE]\n"
	"\n"
	"The nft table, policy rules and routes that bring traffic to the listeners.\n"
	"\n"
	"  plan           print the commands that up would run, and change nothing\n"
	"  up             run them; what is there already is replaced\n"
	"  down           take everything back\n" OPTIONS_CONFIG_HELP
	"  --for WHERE    where limpid runs: host, container (with the host's network), or\n"
	"                 container:ADDRESS:PORT (with its own; this host forwards to it)\n"
	"  --help         this text\n"
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

/* "host", "container", "container:172.17.0.2:4129" */
static int where_parse(const char *text, struct addr *ret)
{
	size_t len = strlen("container");

	*ret = (struct addr){ 0 };
	if (!strcmp(text, "host") || !strcmp(text, "container"))
		return 0;
	if (strncmp(text, "container:", len + 1) != 0 || addr_parse(text + len + 1, ret) < 0 ||
	    !ret->port || addr_is_unspecified(ret))
		return -EINVAL;
	return 0;
}

/* Takes `--for WHERE` out of the arguments.  Return: 0 or -EINVAL. */
static int where_take(int *argc, char **argv, struct addr *ret)
{
	static const char option[] = "--for";
	int n = 1, r = 0;

	for (int i = 1; i < *argc && !r; i++) {
		const char *value = NULL;

		if (!strcmp(argv[i], option))
			value = i + 1 < *argc ? argv[++i] : "";
		else if (!strncmp(argv[i], option, strlen(option)) &&
			 argv[i][strlen(option)] == '=')
			value = argv[i] + strlen(option) + 1;
		else
			argv[n++] = argv[i];
		if (value)
			r = where_parse(value, ret);
	}
	*argc = n;
	argv[n] = NULL;
	return r;
}

static int run(const struct deed *deed, const char *path, const struct addr *container)
{
	struct config *config;
	char error[512];
	int r;

	if (config_load(path, stderr, &config) < 0)
		return 1;
	config->firewall.container = *container;
	r = deed->run(config, error, sizeof(error));
	config_free(config);
	if (r < 0)
		fprintf(stderr, "limpid firewall %s: %s\n", deed->name, error);
	return r < 0;
}

int cmd_firewall(int argc, char **argv)
{
	const struct deed *deed = deeds;
	struct addr container = { 0 };
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
	argc--;
	argv++;
	if (where_take(&argc, argv, &container) < 0)
		return options_refuse(
			argv[0], "--for wants host, container or container:ADDRESS:PORT", usage);
	status = options_config(argc, argv, usage, &path);
	return status < 0 ? run(deed, path, &container) : status;
}
