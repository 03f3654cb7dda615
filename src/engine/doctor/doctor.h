/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DOCTOR_DOCTOR_H
#define ENGINE_DOCTOR_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct config;
struct host;

enum finding_status {
	FINDING_OK,
	FINDING_WARN, /* breaks some traffic, or under circumstances */
	FINDING_FAIL, /* what is configured does not work */
};

/**
 * struct finding - one line of a report
 * @check:	name of the check that found it
 * @subject:	what it is about: an interface, a listener, a rule; "" the host
 * @text:	what is
 * @cure:	a command, "" when nothing is wrong or no command helps
 */
struct finding {
	enum finding_status status;
	const char *check;
	char *subject, *text, *cure;
};

struct findings {
	struct finding *all;
	size_t n, cap;
	bool no_memory;
};

/**
 * doctor_examine() - what on this host would break interception
 * @config:	what is going to be served; NULL: only `limpid run` is, and what concerns any use
 * @path:	its file, for cures; not NULL when @config is not
 *
 * Return: 0 or -ENOMEM; @ret is to be released in any case.
 */
int doctor_examine(const struct host *host, const struct config *config, const char *path,
		   struct findings *ret);

void findings_done(struct findings *f);

/* The worst there is. */
enum finding_status findings_worst(const struct findings *f);

/* A line each: "fail  check  subject: text -> cure".  Without @all only what is wrong. */
void findings_print(const struct findings *f, bool all, FILE *to);

/* The same as a JSON array of objects with check, status, subject, text, cure. */
void findings_print_json(const struct findings *f, bool all, FILE *to);

const char *finding_status_name(enum finding_status s); /* "ok", "warn", "fail" */

#endif
