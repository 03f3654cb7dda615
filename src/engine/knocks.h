/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_KNOCKS_H
#define ENGINE_KNOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/worker.h"

struct knocks;

/* What an engine with honest listeners needs beside their sockets: room for @n_queues queues.
 * NULL: no memory. */
struct knocks *knocks_new(size_t n_queues);

/**
 * knocks_listen() - open the queue of one more honest listener
 * @number:	of the queue
 * @length:	SYNs that may be held at once
 * @early:	what does not fit in passes, else it is dropped
 * @mark:	SO_MARK of what is answered
 *
 * Return: 0 or -errno, as nfqueue_open() has it.
 */
int knocks_listen(struct knocks *k, uint16_t number, uint32_t length, bool early, uint32_t mark);

/* One more, of a command's namespace: descriptors that are owned from now on. */
void knocks_adopt(struct knocks *k, uint16_t number, int queue_fd, const int raw_fd[2]);

/* The latest queue's SYNs lead to @l, for its family; @l becomes honest. */
void knocks_lead_to(struct knocks *k, struct listener *l, uint8_t family);

/* All queues are there: the workers of @r may read them. */
void knocks_join(struct knocks *k, struct realm *r);

size_t knocks_descriptors(const struct knocks *k);

/* After the workers are gone. */
void knocks_free(struct knocks *k);

#endif
