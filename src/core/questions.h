/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_QUESTIONS_H
#define CORE_QUESTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* What is remembered at once; the oldest makes room. */
#define QUESTIONS_MAX 128

/**
 * struct questions - what one client has asked one name server and has no answer to yet
 * @list:	the oldest first
 *
 * Zero is none, and owns nothing.
 */
struct questions {
	struct question *list;
	uint16_t n, cap;
};

/* @digest: of what is asked.  One that is there already (sent again) counts once.  Without memory
 * it is forgotten. */
void questions_add(struct questions *q, uint16_t id, uint64_t digest);

/* Is there any of this @id? */
bool questions_have(const struct questions *q, uint16_t id);

/* True: it was there, and is no more. */
bool questions_take(struct questions *q, uint16_t id, uint64_t digest);

void questions_done(struct questions *q);

#endif
