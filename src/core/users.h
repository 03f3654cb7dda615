/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_USERS_H
#define CORE_USERS_H

#include <stddef.h>

#include "base/span.h"

/*
 * Who may use an explicit listener: files of "name:hash" lines (crypt(3)), and the thread that
 * checks passwords.
 */

struct flow;
struct worker;

#define USER_NAME_MAX_BYTES 255

struct users; /* one file */

/**
 * users_load() - read a file of users
 * @name:	what the configuration calls it
 * @ret_line:	with -EINVAL: the first bad line, from 1; 0: the file is too large
 *
 * Empty lines and lines that begin with # are skipped; what follows a second colon, too.
 * Return: 0, -EINVAL, -ENOMEM, or -errno of reading it.
 */
int users_load(const char *name, const char *path, struct users **ret, unsigned int *ret_line);
void users_free(struct users *u);

/* What users_load() returned, as a sentence; it may be put into @text. */
const char *users_error(int error, unsigned int line, char *text, size_t cap);

const char *users_name(const struct users *u);

struct login; /* the thread and what it remembers */

/* Return: 0 or -errno.  The thread gets no signals. */
int login_new(struct login **ret);
void login_free(struct login *l);

enum login_answer {
	LOGIN_YES,
	LOGIN_NO,
	LOGIN_LATER,
};

/**
 * login_check() - is this @name with this @password one of @u?
 *
 * For a learner of @f.  LOGIN_LATER: return LEARN_MORE; the learner is called again, with the same
 * bytes, once it is known, and asks again.  Checking takes long by intention, so it is done by
 * a thread of its own, one at a time, and what it found is remembered for a while (as a keyed
 * digest) as long as the file does not change.  A name that does not exist takes as long as one
 * that does.  LOGIN_NO also when too many wait already.
 */
enum login_answer login_check(struct flow *f, struct users *u, struct span name,
			      struct span password);

/* The flow ends; nobody waits any more. */
void login_forget(struct flow *f);

/* Worker only: ask the learners again whose answers have come. */
void login_deliver(struct worker *w);

#endif
