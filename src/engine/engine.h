/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/stats.h"
#include "engine/config.h"

struct engine;
struct netns_sockets;

/**
 * struct engine_options - what is not in the configuration
 * @quiet:	no line for people per flow
 * @record_delay_ms: how long records may wait for company
 */
struct engine_options {
	bool quiet;
	unsigned int record_delay_ms;
};

/**
 * engine_new() - an engine for @config, with all its listeners open; nothing runs yet
 * @config:	owned by the engine on success
 * @error:	on failure a sentence for people
 *
 * Return: 0 or -errno with @error set; then nothing is left open.
 */
int engine_new(struct config *config, const struct engine_options *options, struct engine **ret,
	       char *error, size_t error_cap_bytes);

/**
 * engine_adopt() - serve a command's namespace, too, through sockets made inside it
 * @sockets:	owned by the engine from now on
 *
 * Before engine_start().  TCP goes to a tproxy listener called "run"; of UDP, DNS is carried and
 * the rest is refused.  Return: 0 or -errno.
 */
int engine_adopt(struct engine *e, const struct netns_sockets *sockets);

/* Start the threads; the caller has blocked the signals that they must not get.
 * Return: 0 or -errno. */
int engine_start(struct engine *e);

/* Accept no more.  engine_is_idle() becomes true once the last flow has ended. */
void engine_drain(struct engine *e);
bool engine_is_idle(const struct engine *e);

/* Bytes moved so far, by all flows: does waiting make sense? */
uint64_t engine_moved(const struct engine *e);

/* End all flows (WHY_SHUTDOWN) and the threads. */
void engine_stop(struct engine *e);

/* Sum of all workers; after engine_stop(). */
void engine_stats(const struct engine *e, struct stats *ret);

void engine_free(struct engine *e);

/* A policy that accepts everything, in one rule called @name.  NULL: out of memory. */
struct policy *policy_new_accept(const char *name);

#endif
