/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_NAMES_H
#define CORE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"
#include "core/questions.h"

/*
 * Names that clients have been told an address of: what a flow that names no host is probably
 * for.  Shared by all workers.
 */
struct names;

/* @cap: addresses to remember.  NULL: no memory. */
struct names *names_new(size_t cap);
void names_free(struct names *n);

/**
 * names_learn() - remember what a DNS answer says
 * @client:	who is given it, and whose flows it will be about
 * @answer:	a whole message
 * @now_ms:	the loop's clock
 *
 * For as long as its records are valid, at least a minute and at most a day.  NULL @n, or no
 * memory: nothing is learnt.
 */
void names_learn(struct names *n, const struct addr *client, struct span answer, uint64_t now_ms);

/* Who @client is here: itself, or, @inside, the command that limpid runs, which asks from one
 * address and connects from another (loopback, either family). */
const struct addr *names_client(const struct addr *client, bool inside);

/* Is anything learnt?  If not, nobody needs to look. */
bool names_learns(const struct names *n);

/* A client has sent the DNS message @query to a server; @q is what it has asked there.  The first
 * question is all that is looked at. */
void names_asked(const struct names *n, struct questions *q, struct span query);

/* That server has sent the client @answer: names_learn(), if it answers one of @q (same id, name,
 * type and class; RFC 5452 section 9.1), which is then answered. */
void names_answered(struct names *n, struct questions *q, const struct addr *client,
		    struct span answer, uint64_t now_ms);

/* The name that @client last asked for and was told @target's ip.  Return: a heap copy, or NULL. */
char *names_find(struct names *n, const struct addr *client, const struct addr *target,
		 uint64_t now_ms);

#endif
