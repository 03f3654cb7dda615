/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORD_WRITER_H
#define RECORD_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* Where a line goes. */
enum record_sink {
	RECORD_TEXT, /* stderr, or the log that the thread of record_writer_new() uses */
	RECORD_JSON, /* the file */
};

struct record_writer;
struct record_queue;

/**
 * record_writer_new() - what writes what workers queue
 * @json_path:	appended to, mode 0640; its folder is made, mode 0750, if no more than that is
 *		missing; NULL: there is no JSON sink
 * @n_queues:	one for each worker
 * @queue_bytes: room in each
 * @delay_ms:	how long lines may wait for company: bounds the wake-ups per second
 *
 * Return: 0 or -errno (of opening @json_path, too).
 */
int record_writer_new(const char *json_path, unsigned int n_queues, size_t queue_bytes,
		      unsigned int delay_ms, struct record_writer **ret);

/* Start its thread; what is queued before waits.  Return: 0 or -errno. */
int record_writer_start(struct record_writer *w);

/* Write what is queued, say what was lost, end the thread. */
void record_writer_free(struct record_writer *w);

struct record_queue *record_writer_queue(struct record_writer *w, unsigned int index);
bool record_writer_has_json(const struct record_writer *w);

/**
 * record_put() - queue a line, without its newline; never waits (but record_queue_may_wait())
 *
 * One thread per queue.  False: the queue is full, the line is lost and counted; the writer
 * says so.
 */
bool record_put(struct record_queue *q, enum record_sink sink, struct span line);

/* From now on record_put() waits for room, for a few seconds in all: its thread has nothing else
 * to do.  From that thread. */
void record_queue_may_wait(struct record_queue *q);

/* Count a line that could not even be made. */
void record_lose(struct record_queue *q);

#endif
