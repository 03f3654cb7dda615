/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

/* Say on stderr what is wrong with the command line of @verb, then @usage.  Return: 2. */
int options_refuse(const char *verb, const char *text, const char *usage);

/**
 * options_config() - the command line of a verb that takes --config FILE and nothing else
 * @argv:	argv[0] is the verb
 * @ret_path:	set when the verb is to go on
 *
 * Return: -1 go on; otherwise the exit status: 0 after --help, 2 wrong usage.
 */
int options_config(int argc, char **argv, const char *usage, const char **ret_path);

#endif
