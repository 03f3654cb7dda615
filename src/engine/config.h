/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/addr.h"
#include "core/policy.h"
#include "core/proxy_facts.h"
#include "core/settings.h"
#include "engine/firewall_config.h"
#include "learn/learn.h"
#include "sys/log.h"

struct users;

enum listener_mode {
	LISTENER_TPROXY,
	LISTENER_REDIRECT,
	LISTENER_FIXED,
	LISTENER_HTTP,
	LISTENER_SOCKS,
	LISTENER_HTTPS,
	LISTENER_PROXY_PROTOCOL,
	LISTENER_MIXED,
	LISTENER_DNS,
};

/* Does traffic get there by rules of a firewall, and not because clients address it? */
static inline bool listener_mode_intercepts(enum listener_mode m)
{
	return m == LISTENER_TPROXY || m == LISTENER_REDIRECT;
}

/* Do such rules bring it there by NAT? */
static inline bool listener_mode_is_translated(enum listener_mode m)
{
	return m == LISTENER_REDIRECT || m == LISTENER_DNS;
}

struct tls_profile;
struct via;

/* An entry of `tls`. */
struct tls_entry {
	char *name;
	struct tls_profile *profile; /* NULL only beside an error */
	bool offers_h2;
};

struct listener_config {
	char *name; /* unique; default: "<mode>-<n>", n counts listeners from 1 */
	enum listener_mode mode;
	struct addr *addresses;
	size_t n_addresses;
	struct addr to;	    /* where to dial what names no target itself */
	struct fixed_name to_name; /* or this, if it has a name */
	struct users *users; /* who may use it; NULL: everybody.  Of struct config */
	uint32_t networks;  /* 1 << enum network: what to listen for */
	uint32_t protocols; /* 1 << enum protocol: what `sniff` looks for; 0: nothing is read */
	uint32_t targets;   /* 1 << enum protocol: in which of them a name is the target */
	struct tls_accept tls; /* .layer.conf NULL: clients speak no TLS with us */
	bool honest;	    /* connect: the client is accepted once the server has answered */
	bool full_early;    /* when-full: who finds the queue full is accepted early */
	uint16_t queue;	    /* NFQUEUE of an honest listener */
	bool proxy;	    /* clients may or must send a header of the PROXY protocol */
	struct proxy_header_conf proxy_header;
};

/* Everything a configuration file says; owned by whoever loaded it. */
struct config {
	struct via *dialers; /* upstream proxies */
	size_t n_dialers;
	struct tls_entry *tls;
	size_t n_tls;
	struct listener_config *listeners;
	size_t n_listeners;
	struct users **users;
	size_t n_users;
	struct policy *policy;
	struct timeouts timeouts;
	struct limits limits;
	struct resolver_settings resolver;
	uint32_t mark;	    /* firewall.mark: SO_MARK of own sockets, 0: none */
	struct firewall_config firewall;
	enum log_level log; /* log.level */
	char *record_flows; /* record.flows.file: path, or NULL */
};

/**
 * config_load() - read, check and compile a configuration file
 * @path:	YAML file; "-" is standard input
 * @errors:	where each error is written, one line each: `file:line:col: what is wrong: 'word';
 *		accepted: …` (no colour, no other text)
 * @ret:	set on success only
 *
 * `limpid check` and `limpid serve` both call this and nothing else.  As many errors as can be
 * found are reported, not only the first.
 *
 * Return: 0; -EINVAL if errors were written; -errno if the file cannot be read (said too).
 */
int config_load(const char *path, FILE *errors, struct config **ret);

/**
 * config_load_part(), config_parse() - the same for those who may add listeners of their own
 * @needs_listener: a configuration without any is an error
 * @name:	of a configuration in memory: what errors call it
 * @folder:	where relative paths in it start
 */
int config_load_part(const char *path, bool needs_listener, FILE *errors, struct config **ret);
int config_parse(const char *name, const char *folder, const char *bytes, size_t len,
		 bool needs_listener, FILE *errors, struct config **ret);

/* The defaults, no listener, an empty policy: where `limpid run` starts.  NULL: no memory. */
struct config *config_new(void);
void config_free(struct config *c);

/* Do clients know that they speak to limpid, so that they can be asked who they are? */
bool listener_mode_is_explicit(enum listener_mode m);

const char *listener_mode_name(enum listener_mode m); /* "tproxy" */

#endif
