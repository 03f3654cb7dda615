/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_LIBRARY_H
#define ENGINE_LIBRARY_H

#include <semaphore.h>
#include <stdatomic.h>

#include "engine/config.h"
#include "engine/engine.h"
#include "filter/interceptor.h"
#include "limpid/limpid.h"
#include "sys/log.h"

struct observer;

/**
 * struct limpid - the engine as the public headers know it
 * @config:	until limpid_start(); then the engine owns it
 * @engine:	from limpid_start() on
 * @confs, @interceptors: @n_interceptors of each; the second points into the first once started
 * @log:	what the threads of the engine use
 * @configured:	limpid_configure() has been called
 * @error:	for limpid_error(); NULL: none
 * @idle:	posted when the last thread has ended
 * @runs:	@engine has threads that can be asked to stop
 * @stop, @drain: has been asked for
 */
struct limpid {
	struct config *config;
	struct engine *engine;
	struct limpid_options options;
	struct limpid_events events;
	void *events_user;
	struct interceptor_conf *confs;
	struct interceptor *interceptors;
	unsigned int n_interceptors;
	struct log log;
	limpid_log_fn *log_write;
	void *log_user;
	bool configured;
	char *error;
	sem_t idle;
	atomic_bool runs, stop, drain;
};

/* Passes on to struct limpid's events what flows say; and to the records. */
extern const struct observer library_observer;

#endif
