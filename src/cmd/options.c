/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>

#include "cmd/options.h"

int options_refuse(const char *verb, const char *text, const char *usage)
{
	if (text)
		fprintf(stderr, "limpid %s: %s\n", verb, text);
	fputs(usage, stderr);
	return 2;
}

int options_config(int argc, char **argv, const char *usage, const char **ret_path)
{
	return options_config_flag(argc, argv, usage, NULL, NULL, ret_path);
}

int options_config_flag(int argc, char **argv, const char *usage, const char *flag, bool *ret_flag,
			const char **ret_path)
{
	const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ flag, no_argument, NULL, 'f' },
		{ 0 },
	};
	const char *path = NULL;
	bool flagged = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (opt == 'f') {
			flagged = true;
			continue;
		}
		if (opt != 'c')
			return options_refuse(argv[0], NULL, usage);
		if (path)
			return options_refuse(argv[0], "--config is given twice", usage);
		path = optarg;
	}
	if (optind < argc)
		return options_refuse(argv[0], "nothing is expected behind the options", usage);
	if (ret_flag)
		*ret_flag = flagged;
	*ret_path = path ? path : OPTIONS_CONFIG_DEFAULT;
	return -1;
}
