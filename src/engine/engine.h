/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/stats.h"
#include "engine/config.h"

struct engine;
struct interceptor;
struct netns_sockets;
struct observer;

/**
 * struct engine_options - what is not in the configuration
 * @quiet:	no line for people per flow
 * @record_delay_ms: how long records may wait for company
 * @observer:	told of flows beside the records; calls flow_record_observer itself.  NULL: the
 *		records alone
 * @owner:	the realm's, for @observer and @idle
 * @interceptors: as in struct realm
 * @idle:	called once when the last thread has nothing more to do, in that thread
 *
 * What the thread that calls engine_new() uses as its log, all threads of the engine use.
 */
struct engine_options {
	bool quiet;
	unsigned int record_delay_ms;
	const struct observer *observer;
	void *owner;
	const struct interceptor *interceptors;
	unsigned int n_interceptors;
	void (*idle)(void *owner);
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

/**
 * engine_become() - run as @user from now on, with no more privileges than the configuration
 * needs; listeners and records are open already
 * @error:	on failure a sentence for people
 *
 * Before engine_start(), for the whole process and for good.  Return: 0 or -errno.
 */
int engine_become(struct engine *e, const char *user, char *error, size_t error_cap_bytes);

/* Start the threads; the caller has blocked the signals that they must not get.
 * Return: 0 or -errno. */
int engine_start(struct engine *e);

/* Look at once whether certificates have changed; it is done anyway, once in a second. */
void engine_look_again(struct engine *e);

/* Accept no more.  engine_is_idle() becomes true once the last flow has ended. */
void engine_drain(struct engine *e);
bool engine_is_idle(const struct engine *e);

/* Bytes moved so far, by all flows: does waiting make sense? */
uint64_t engine_moved(const struct engine *e);

/* Ask all threads to end their flows (WHY_SHUTDOWN) and themselves.  Once engine_start() has
 * returned, from any thread and from a signal handler. */
void engine_ask_stop(struct engine *e);

/* The same, and wait for them. */
void engine_stop(struct engine *e);

/* Sum of all workers; after engine_stop(). */
void engine_stats(const struct engine *e, struct stats *ret);

void engine_free(struct engine *e);

/* A policy that accepts everything, in one rule called @name.  NULL: out of memory. */
struct policy *policy_new_accept(const char *name);

#endif
