/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <stdbool.h>

/* The configuration where none is named. */
#define OPTIONS_CONFIG_DEFAULT LIMPID_SYSCONFDIR "/limpid/limpid.yaml"

/* The option's lines in the help of a verb. */
#define OPTIONS_CONFIG_HELP                                                                        \
	"  --config FILE  the configuration, limpid.yaml(5); - is standard input; default:\n"      \
	"                 " OPTIONS_CONFIG_DEFAULT "\n"

/* Say on stderr what is wrong with the command line of @verb, then @usage.  Return: 2. */
int options_refuse(const char *verb, const char *text, const char *usage);

/**
 * options_config() - the command line of a verb that takes --config FILE and nothing else
 * @argv:	argv[0] is the verb
 * @ret_path:	set when the verb is to go on; OPTIONS_CONFIG_DEFAULT unless named
 *
 * Return: -1 go on; otherwise the exit status: 0 after --help, 2 wrong usage.
 */
int options_config(int argc, char **argv, const char *usage, const char **ret_path);

/* The same with one option more, --@flag, without an argument. */
int options_config_flag(int argc, char **argv, const char *usage, const char *flag, bool *ret_flag,
			const char **ret_path);

#endif
