/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "engine/config.h"
#include "engine/doctor/doctor.h"
#include "engine/doctor/host.h"

static const char usage[] =
	"usage: limpid doctor [--config FILE] [--all] [--json]\n"
	"\n"
	"Say what on this host would break interception, one line each, with the cure.\n"
	"Changes nothing.  Sees most as root.\n"
	"\n"
	"  --config FILE  look for what this configuration needs, limpid.yaml(5); - is\n"
	"                 standard input.  Without it: for what limpid run needs\n"
	"  --all          also say what is well\n"
	"  --json         an array of objects: check, status, subject, text, cure\n"
	"  --help         this text\n"
	"\n"
	"Exit status: 0 no failure found (warnings do not count), 1 failures, or the\n"
	"configuration has errors, 2 wrong usage.\n";

static int examine(const char *path, bool all, bool json)
{
	struct config *config = NULL;
	struct findings findings;
	struct host *host;
	int r;

	if (path && config_load(path, stderr, &config) < 0)
		return 1;
	host = host_read(!path);
	r = host ? doctor_examine(host, config, path, &findings) : -1;
	if (r < 0)
		fputs("limpid doctor: out of memory\n", stderr);
	else if (json)
		findings_print_json(&findings, all, stdout);
	else
		findings_print(&findings, all, stdout);
	if (!r)
		r = findings_worst(&findings) == FINDING_FAIL;
	if (host)
		findings_done(&findings);
	host_free(host);
	config_free(config);
	return r ? 1 : 0;
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "all", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	bool all = false, json = false;
	const char *path = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (opt == 'a')
			all = true;
		else if (opt == 'j')
			json = true;
		else if (opt != 'c')
			return options_refuse(argv[0], NULL, usage);
		else if (path)
			return options_refuse(argv[0], "--config is given twice", usage);
		else
			path = optarg;
	}
	if (optind < argc)
		return options_refuse(argv[0], "nothing is expected behind the options", usage);
	return examine(path, all, json);
}
