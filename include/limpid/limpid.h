/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIMPID_LIMPID_H
#define LIMPID_LIMPID_H

/*
 * limpid in your program: an engine that intercepts connections and relays them.
 *
 *	limpid_new() -> limpid_configure_file() or limpid_add_listener() -> limpid_run()
 *	-> limpid_stop() from elsewhere -> limpid_free()
 *
 * An engine has threads of its own and shares nothing with others in the process but the limit
 * of descriptors.  It writes nowhere unless it is told to.  It blocks all signals in its own
 * threads and changes no handler.
 *
 * Functions that can fail return 0 or a negative errno; limpid_error() then has a sentence.
 * Unless it says otherwise, a function is called by one thread at a time for the same engine, and
 * not from a callback.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limpid/filter.h"
#include "limpid/flow.h"

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

struct limpid;

/**
 * struct limpid_options - what limpid_new() may be told
 * @size:	sizeof(struct limpid_options): programs built before a member was added go on
 * @threads:	that carry flows; 0: as configured (limits.threads), else one for each core
 * @record_delay_ms: how long lines for log and records may wait for company; 0: they do not
 */
struct limpid_options {
	size_t size;
	unsigned int threads;
	unsigned int record_delay_ms;
};

enum limpid_mode {
	LIMPID_TPROXY,	 /* the firewall diverts connections here (TPROXY) */
	LIMPID_REDIRECT, /* the firewall rewrites their destination (REDIRECT) */
	LIMPID_FIXED,	 /* clients dial the listener; all go to one server */
};

/* Which address the server sees. */
enum limpid_source {
	LIMPID_SOURCE_OWN,	    /* this host's */
	LIMPID_SOURCE_KEEP_ADDRESS, /* the client's, from a free port */
	LIMPID_SOURCE_KEEP,	    /* the client's ip:port */
};

/* How bytes that no interceptor looks at are moved. */
enum limpid_offload {
	LIMPID_OFFLOAD_AUTO,
	LIMPID_OFFLOAD_COPY,
	LIMPID_OFFLOAD_SPLICE,
};

/**
 * struct limpid_listener - one address to listen on, all of whose connections are accepted
 * @size:	sizeof(struct limpid_listener)
 * @name:	for records and rules; NULL: the mode and a number
 * @address:	"127.0.0.1:9091", "[::1]:9091"
 * @to:		the server for LIMPID_FIXED, likewise or "db.example:5432"; else NULL
 * @strict:	a flow ends rather than be seen from another source address
 * @sniff:	look at the client's first bytes for the name it asks for (TLS, HTTP)
 */
struct limpid_listener {
	size_t size;
	const char *name;
	enum limpid_mode mode;
	const char *address;
	const char *to;
	enum limpid_source source;
	bool strict;
	bool sniff;
	enum limpid_offload offload;
};

enum limpid_log_level {
	LIMPID_LOG_ERROR,
	LIMPID_LOG_WARNING,
	LIMPID_LOG_INFO,
	LIMPID_LOG_DEBUG,
};

/* A whole line with its time and without its newline; called from any thread of the engine. */
typedef void limpid_log_fn(void *user, enum limpid_log_level level, const char *line);

/**
 * struct limpid_events - what happens to flows; each may be NULL
 * @size:	sizeof(struct limpid_events)
 * @accepted:	a client is there.  The first event of a flow
 * @dialling:	its server is about to be dialled
 * @opened:	the server is there
 * @client_finished, @server_finished: this side has said all it had to say, or (@reset) was lost;
 *		once each
 * @error:	the flow could not be carried, or not to its end: @text says why.  Orderly ends,
 *		resets by a side, refusals by a rule and limpid_stop() are no errors
 * @closed:	it has ended: limpid_flow_why(), limpid_flow_bytes().  The last event of a flow,
 *		after the interceptors' close()
 * @listen_error: @address cannot be listened on (limpid_start() then fails), or accepting there
 *		failed for now; @error is a positive errno
 *
 * Those about a flow come from the thread that carries it; those of several flows at once.  They
 * must not wait.
 */
struct limpid_events {
	size_t size;
	void (*accepted)(void *user, struct limpid_flow *flow);
	void (*dialling)(void *user, struct limpid_flow *flow);
	void (*opened)(void *user, struct limpid_flow *flow);
	void (*client_finished)(void *user, struct limpid_flow *flow, bool reset);
	void (*server_finished)(void *user, struct limpid_flow *flow, bool reset);
	void (*error)(void *user, struct limpid_flow *flow, const char *text);
	void (*closed)(void *user, struct limpid_flow *flow);
	void (*listen_error)(void *user, const char *listener, const char *address, int error);
};

/* "0.1.0".  From any thread. */
const char *limpid_version(void);

/**
 * limpid_new() - an engine that listens nowhere yet
 * @options:	NULL: the defaults
 *
 * Return: 0, -ENOMEM, or -EINVAL (@options->size).
 */
int limpid_new(const struct limpid_options *options, struct limpid **ret);

/* Stop it, wait for its threads, release it.  NULL is fine.  Nobody may use it any more. */
void limpid_free(struct limpid *limpid);

/* What the last call on this engine that failed has to say; "" if none has.  Valid until the next
 * call. */
const char *limpid_error(const struct limpid *limpid);

/**
 * limpid_configure_file(), limpid_configure() - read a configuration, limpid.yaml(5)
 * @path:	of the file; "-" is standard input
 * @yaml:	the configuration itself, @len bytes; relative paths in it start at the working
 *		directory
 *
 * At most once, and before limpid_add_listener().  A configuration may do without listeners.
 *
 * Return: 0; -EINVAL (limpid_error() has a line for each error: file:line:col: text); -EBUSY (too
 * late); or why the file cannot be read.
 */
int limpid_configure_file(struct limpid *limpid, const char *path);
int limpid_configure(struct limpid *limpid, const char *yaml, size_t len);

/**
 * limpid_add_listener() - listen on one more address
 *
 * Rules of a configuration come first; what none of them matches is accepted as @listener says.
 *
 * Return: 0, -EINVAL, -EEXIST (the name is taken), -EBUSY (it runs), -ENOMEM.
 */
int limpid_add_listener(struct limpid *limpid, const struct limpid_listener *listener);

/**
 * limpid_add_interceptor() - show every flow to one more interceptor
 * @interceptor: copied
 * @conf:	for its open(); must live as long as the engine
 *
 * Several form a row from the client to the server, the first added next to the client.
 *
 * Return: 0, -EINVAL, -EBUSY (it runs), -ENOMEM.
 */
int limpid_add_interceptor(struct limpid *limpid, const struct limpid_interceptor *interceptor,
			   void *conf);

/**
 * limpid_set_log() - where log lines go; until then nowhere
 *
 * Lines of flows, too, at level info: what they say, and which are wanted, is that of
 * `limpid serve` (log.level).  Return: 0 or -EBUSY (it runs).
 */
int limpid_set_log(struct limpid *limpid, limpid_log_fn *write, void *user);

/* For limpid_set_log(): lines to standard error.  From any thread. */
void limpid_log_stderr(void *user, enum limpid_log_level level, const char *line);

/* Tell @events, copied, about flows.  Return: 0, -EINVAL or -EBUSY (it runs). */
int limpid_set_events(struct limpid *limpid, const struct limpid_events *events, void *user);

/**
 * limpid_start() - open the listeners and start the threads
 *
 * Raises the process's soft limit of descriptors to the hard one and shares it between flows; with
 * several engines, say limits.flows in the configuration.  An engine runs once.
 *
 * Return: 0, -EINVAL (nothing to listen on), -EBUSY (it has been started), or why an address
 * cannot be listened on or a record file not be written.
 */
int limpid_start(struct limpid *limpid);

/**
 * limpid_run() - limpid_start() unless it has been, then wait until the engine has stopped
 *
 * Return: 0 once stopped, or as limpid_start().
 */
int limpid_run(struct limpid *limpid);

/* End all flows and the engine's threads; does not wait for them.  From any thread, from callbacks
 * and signal handlers, any number of times, also before limpid_start(); not beside
 * limpid_free(). */
void limpid_stop(struct limpid *limpid);

/* Accept nothing more; the engine stops when its last flow has ended, or at limpid_stop().  From
 * where limpid_stop() may be called. */
void limpid_drain(struct limpid *limpid);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
