/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what a configuration can say.  The manual page is held against it by a test. */
#include <stddef.h>

#include "core/policy.h"
#include "core/via.h"
#include "engine/schema.h"

static const struct schema_word mode_words[] = {
	{ "tproxy", LISTENER_TPROXY },
	{ "redirect", LISTENER_REDIRECT },
	{ "fixed", LISTENER_FIXED },
	{ "http", LISTENER_HTTP },
	{ "socks", LISTENER_SOCKS },
	{ "https", LISTENER_HTTPS },
	{ "proxy-protocol", LISTENER_PROXY_PROTOCOL },
	{ "mixed", LISTENER_MIXED },
	{ "dns", LISTENER_DNS },
	{ 0 },
};

static const struct schema_word connect_words[] = {
	{ "early", false },
	{ "honest", true },
	{ 0 },
};

static const struct schema_word header_words[] = {
	{ "require", true },
	{ "optional", false },
	{ 0 },
};

static const struct schema_word full_words[] = {
	{ "drop", false },
	{ "early", true },
	{ 0 },
};

static const struct schema_word network_words[] = {
	{ "tcp", NETWORK_TCP },
	{ "udp", NETWORK_UDP },
	{ 0 },
};

/* The protocol whose name counts. */
static const struct schema_word target_words[] = {
	{ "request", PROTOCOL_UNKNOWN },
	{ "sni", PROTOCOL_TLS },
	{ "host", PROTOCOL_HTTP },
	{ 0 },
};

static const struct schema_word protocol_words[] = {
	{ "tls", PROTOCOL_TLS },
	{ "http", PROTOCOL_HTTP },
	{ 0 },
};

static const struct schema_word action_words[] = {
	{ "accept", VERDICT_ACCEPT },
	{ "deny", VERDICT_DENY },
	{ "reject", VERDICT_REJECT },
	{ 0 },
};

static const struct schema_word source_words[] = {
	{ "own", SOURCE_OWN },
	{ "keep-address", SOURCE_KEEP_ADDRESS },
	{ "keep", SOURCE_KEEP },
	{ 0 },
};

static const struct schema_word offload_words[] = {
	{ "auto", OFFLOAD_AUTO },
	{ "copy", OFFLOAD_COPY },
	{ "splice", OFFLOAD_SPLICE },
	{ 0 },
};

static const struct schema_word via_words[] = {
	{ "socks5", VIA_SOCKS5 },
	{ "http", VIA_HTTP },
	{ "https", VIA_HTTPS },
	{ "proxy-v1", VIA_PROXY_V1 },
	{ "proxy-v2", VIA_PROXY_V2 },
	{ 0 },
};

static const struct schema_word tls_version_words[] = {
	{ "1.2", 0x0303 },
	{ "1.3", 0x0304 },
	{ 0 },
};

static const struct schema_word version_words[] = {
	{ "v1", 1 },
	{ "v2", 2 },
	{ 0 },
};

static const struct schema_word traffic_words[] = {
	{ "routed", FIREWALL_ROUTED },
	{ "inbound", FIREWALL_INBOUND },
	{ "local", FIREWALL_LOCAL },
	{ "loopback", FIREWALL_LOOPBACK },
	{ 0 },
};

static const struct schema_word when_down_words[] = {
	{ "block", 0 },
	{ "pass", 1 },
	{ 0 },
};

static const struct schema_word level_words[] = {
	{ "error", LOG_ERROR },
	{ "warning", LOG_WARNING },
	{ "info", LOG_INFO },
	{ "debug", LOG_DEBUG },
	{ 0 },
};

#define NETWORKS "address, network or $set"
#define DOMAINS "domain pattern or $set"
#define INTERFACES "name of an interface, as eth0, wlan*"
#define ENTRIES "address, network, domain pattern or $set"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define HOUR_MS UINT64_C(3600000)

#define INTO(member)                                                                               \
	.offset = offsetof(struct config, member), .size = sizeof(((struct config *)0)->member)

/* clang-format off */
const struct schema_key schema_keys[] = {
	{ "listeners", SCHEMA_MAPS, SCHEMA_EMPTY,
	  .text = "where connections arrive" },
	{ "listeners.name", SCHEMA_NAME, .fallback = "mode-N",
	  .text = "what records and rules call it; N counts the listeners from 1" },
	{ "listeners.mode", SCHEMA_WORD, SCHEMA_REQUIRED, mode_words,
	  .text = "how the destination of a connection is learnt" },
	{ "listeners.address", SCHEMA_ENDPOINT, SCHEMA_REQUIRED | SCHEMA_LIST,
	  .text = "where to listen" },
	{ "listeners.network", SCHEMA_WORD, SCHEMA_LIST, network_words, .fallback = "tcp",
	  .text = "what to listen for" },
	{ "listeners.to", SCHEMA_TEXT, .kind = "ip:port or name:port",
	  .text = "mode fixed: the server all connections go to" },
	{ "listeners.proxy-protocol", SCHEMA_WORD, 0, header_words,
	  .text = "clients begin with a header of the PROXY protocol" },
	{ "listeners.trusted", SCHEMA_TEXT, SCHEMA_LIST, .kind = NETWORKS,
	  .text = "who may send such a header" },
	{ "listeners.users", SCHEMA_TEXT, .kind = "name of a list of users",
	  .text = "who may use it, with a password; without this key: everybody" },
	{ "listeners.sniff", SCHEMA_WORD, SCHEMA_LIST | SCHEMA_OR_FALSE, protocol_words,
	  .fallback = "[tls, http]",
	  .text = "in which protocols to look for the name of the server" },
	{ "listeners.target", SCHEMA_WORD, SCHEMA_LIST, target_words, .fallback = "request",
	  .text = "which name says where to go, where a client that knows limpid says two" },
	{ "listeners.connect", SCHEMA_WORD, 0, connect_words, .fallback = "early",
	  .text = "when a client is told that it is connected" },
	{ "listeners.queue", SCHEMA_NUMBER, .min = 0, .max = UINT16_MAX, .fallback = "PORT",
	  .text = "number of the NFQUEUE that connect: honest reads; PORT is that of the first "
		  "address" },
	{ "listeners.when-full", SCHEMA_WORD, 0, full_words, .fallback = "drop",
	  .text = "what becomes of a client where limits.held-syns wait already" },

	{ "listeners.tls", SCHEMA_TEXT, .kind = "name of an entry of tls",
	  .text = "clients speak TLS with the listener itself, and inside it what the mode says" },

	{ "tls", SCHEMA_NAMED,
	  .text = "named certificates, for listeners" },
	{ "tls.*", SCHEMA_MAP, .text = "one of them" },
	{ "tls.*.certificate", SCHEMA_PATH, SCHEMA_REQUIRED,
	  .text = "the certificate and the chain behind it, in PEM form" },
	{ "tls.*.key", SCHEMA_PATH, SCHEMA_REQUIRED,
	  .text = "its private key, in PEM form, without a pass phrase" },
	{ "tls.*.alpn", SCHEMA_TEXT, SCHEMA_LIST, .kind = "name of a protocol, as http/1.1",
	  .text = "protocols to agree on with clients that ask (ALPN), the best first" },
	{ "tls.*.min-version", SCHEMA_WORD, 0, tls_version_words, .fallback = "1.2",
	  .text = "the oldest version of TLS that is spoken" },

	{ "dialers", SCHEMA_NAMED,
	  .text = "named upstream proxies, for rules" },
	{ "dialers.*", SCHEMA_MAP, .text = "one of them" },
	{ "dialers.*.type", SCHEMA_WORD, SCHEMA_REQUIRED, via_words,
	  .text = "how it is spoken to" },
	{ "dialers.*.address", SCHEMA_TEXT, SCHEMA_REQUIRED, .kind = "ip:port or name:port",
	  .text = "where it is" },
	{ "dialers.*.user", SCHEMA_TEXT, .kind = "1 to 255 characters",
	  .text = "who we are to it" },
	{ "dialers.*.password", SCHEMA_TEXT, .kind = "1 to 255 characters",
	  .text = "what proves it" },
	{ "dialers.*.password-file", SCHEMA_PATH,
	  .text = "the same, as the first line of a file" },
	{ "dialers.*.via", SCHEMA_TEXT, .kind = "name of a dialer",
	  .text = "the proxy through which this one is reached" },
	{ "dialers.*.tls", SCHEMA_MAP, .text = "type https: whom to trust" },
	{ "dialers.*.tls.ca", SCHEMA_PATH,
	  .text = "a file with the certificates to trust, in PEM form" },
	{ "dialers.*.tls.name", SCHEMA_TEXT, .kind = "a name or an address",
	  .text = "who it must be, where that is not its address" },
	{ "dialers.*.tls.verify", SCHEMA_BOOL, .fallback = "true",
	  .text = "whether its certificate must be good" },

	{ "sets", SCHEMA_NAMED,
	  .text = "named sets of networks or of domain names, for rules and other sets" },
	{ "sets.*", SCHEMA_TEXT, SCHEMA_LIST | SCHEMA_EMPTY | SCHEMA_OR_MAP, .kind = ENTRIES,
	  .text = "the entries, all networks or all names" },
	{ "sets.*.file", SCHEMA_PATH, SCHEMA_REQUIRED,
	  .text = "a file with one entry a line" },

	{ "rules", SCHEMA_MAPS, SCHEMA_EMPTY,
	  .text = "what to do with a connection: the first rule that matches decides" },
	{ "rules.name", SCHEMA_NAME, SCHEMA_REQUIRED,
	  .text = "what records call it" },
	{ "rules.match", SCHEMA_MAP,
	  .text = "all of this must hold" },
	{ "rules.match.source", SCHEMA_TEXT, SCHEMA_LIST, .kind = NETWORKS,
	  .text = "address of the client" },
	{ "rules.match.destination", SCHEMA_TEXT, SCHEMA_LIST, .kind = NETWORKS,
	  .text = "address the client dialled" },
	{ "rules.match.port", SCHEMA_PORTS, SCHEMA_LIST,
	  .text = "port the client dialled" },
	{ "rules.match.source-port", SCHEMA_PORTS, SCHEMA_LIST,
	  .text = "port of the client" },
	{ "rules.match.network", SCHEMA_WORD, SCHEMA_LIST, network_words,
	  .text = "transport protocol" },
	{ "rules.match.listener", SCHEMA_TEXT, SCHEMA_LIST, .kind = "name of a listener",
	  .text = "where the connection arrived" },
	{ "rules.match.domain", SCHEMA_TEXT, SCHEMA_LIST, .kind = DOMAINS,
	  .text = "name of the server, as the client says it" },
	{ "rules.match.protocol", SCHEMA_WORD, SCHEMA_LIST, protocol_words,
	  .text = "what the client speaks" },
	{ "rules.match.user", SCHEMA_TEXT, SCHEMA_LIST, .kind = "name of a user",
	  .text = "who the client has logged in as" },
	{ "rules.match.mismatch", SCHEMA_BOOL,
	  .text = "the client asks the server for another name than it asked limpid for" },
	{ "rules.match.not", SCHEMA_MAP_OR_MAPS, .borrows = "rules.match",
	  .text = "the same as rules.not" },
	{ "rules.not", SCHEMA_MAP_OR_MAPS, .borrows = "rules.match",
	  .text = "keys as in rules.match; none of these mappings may hold" },
	{ "rules.action", SCHEMA_WORD, SCHEMA_REQUIRED, action_words,
	  .text = "what becomes of the connection" },
	{ "rules.source", SCHEMA_WORD, 0, source_words, .fallback = "own",
	  .text = "which address the server sees" },
	{ "rules.strict", SCHEMA_BOOL, .fallback = "false",
	  .text = "end the connection rather than fall back to another source address" },
	{ "rules.offload", SCHEMA_WORD, 0, offload_words, .fallback = "auto",
	  .text = "how bytes cross that nobody looks at" },
	{ "rules.proxy-protocol", SCHEMA_WORD, 0, version_words,
	  .text = "tell the server who the client is, by a header of the PROXY protocol" },
	{ "rules.via", SCHEMA_TEXT, .kind = "name of a dialer",
	  .text = "the upstream proxy through which the server is dialled" },
	{ "rules.bind", SCHEMA_BOOL, .fallback = "false",
	  .text = "a client of SOCKS may also wait for the server to connect (BIND)" },
	{ "rules.disabled", SCHEMA_BOOL, .fallback = "false",
	  .text = "check the rule, but do not use it" },

	{ "timeouts", SCHEMA_MAP, .text = "how long to wait" },
	{ "timeouts.sniff", SCHEMA_TIME, .min = 1, .max = HOUR_MS, .fallback = "5s",
	  INTO(timeouts.sniff_ms),
	  .text = "for the first bytes of the client, where a rule needs them" },
	{ "timeouts.connect", SCHEMA_TIME, .min = 1, .max = HOUR_MS, .fallback = "10s",
	  INTO(timeouts.connect_ms),
	  .text = "for the server to answer the dial" },
	{ "timeouts.bind", SCHEMA_TIME, .min = 1, .max = HOUR_MS, .fallback = "2m",
	  INTO(timeouts.bind_ms),
	  .text = "SOCKS BIND: for the server to connect" },
	{ "timeouts.idle", SCHEMA_TIME, .min = 1, .max = 720 * HOUR_MS, .fallback = "10m",
	  INTO(timeouts.idle_ms),
	  .text = "with no byte in either direction" },
	{ "timeouts.half-closed", SCHEMA_TIME, .min = 1, .max = 720 * HOUR_MS, .fallback = "1m",
	  INTO(timeouts.half_closed_ms),
	  .text = "with no byte after one side has ended" },
	{ "timeouts.keep-alive", SCHEMA_TIME, .min = 100, .max = 720 * HOUR_MS, .fallback = "1m",
	  INTO(timeouts.keep_alive_ms),
	  .text = "HTTP proxy: with no request on the connection of a client, or to a server" },
	{ "timeouts.deny", SCHEMA_TIME, .min = 0, .max = HOUR_MS, .fallback = "30s",
	  INTO(timeouts.deny_ms),
	  .text = "before a denied connection is reset" },
	{ "timeouts.udp", SCHEMA_TIME, .min = 1000, .max = 720 * HOUR_MS, .fallback = "2m",
	  INTO(timeouts.udp_ms),
	  .text = "with no datagram in either direction between a client and a server" },
	{ "timeouts.quic", SCHEMA_TIME, .min = 1000, .max = 720 * HOUR_MS, .fallback = "30s",
	  INTO(timeouts.quic_ms),
	  .text = "the same to port 443" },
	{ "timeouts.dns", SCHEMA_TIME, .min = 100, .max = 720 * HOUR_MS, .fallback = "10s",
	  INTO(timeouts.dns_ms),
	  .text = "the same to port 53 while a query is unanswered" },
	{ "timeouts.drain", SCHEMA_TIME, .min = 0, .max = HOUR_MS, .fallback = "10s",
	  INTO(timeouts.drain_ms),
	  .text = "for connections to end after SIGTERM" },

	{ "limits", SCHEMA_MAP, .text = "how much to hold" },
	{ "limits.flows", SCHEMA_NUMBER, .min = 0, .max = 10000000, .fallback = "0",
	  INTO(limits.flows),
	  .text = "connections at once; 0: what the limit of descriptors allows" },
	{ "limits.sessions", SCHEMA_NUMBER, .min = 0, .max = 10000000, .fallback = "0",
	  INTO(limits.sessions),
	  .text = "clients of UDP (ip:port) at once on each address; 0: what descriptors allow" },
	{ "limits.sessions-per-client", SCHEMA_NUMBER, .min = 1, .max = 10000000,
	  .fallback = "4096", INTO(limits.sessions_per_client),
	  .text = "the same of one ip" },
	{ "limits.held-syns", SCHEMA_NUMBER, .min = 1, .max = 1000000, .fallback = "4096",
	  INTO(limits.held_syns),
	  .text = "connect: honest: clients that wait for their server at once, each listener" },
	{ "limits.threads", SCHEMA_NUMBER, .min = 0, .max = 1024, .fallback = "0",
	  INTO(limits.threads),
	  .text = "threads; 0: one for each processor" },
	{ "limits.origins", SCHEMA_NUMBER, .min = 0, .max = 1000000, .fallback = "256",
	  INTO(limits.origins),
	  .text = "HTTP proxy: connections to servers that each thread may keep for the next request" },
	{ "limits.look-ahead", SCHEMA_SIZE, .min = KIB, .max = MIB, .fallback = "64KiB",
	  INTO(limits.look_ahead_bytes),
	  .text = "bytes of one connection that may be held while they are looked at" },
	{ "limits.look-ahead-total", SCHEMA_SIZE, .min = MIB, .max = MIB * MIB,
	  .fallback = "64MiB", INTO(limits.look_ahead_total_bytes),
	  .text = "the same for all connections together" },
	{ "limits.lookups", SCHEMA_NUMBER, .min = 1, .max = 50000, .fallback = "1000",
	  INTO(limits.lookups),
	  .text = "questions to name servers that each thread may have open" },
	{ "limits.names", SCHEMA_NUMBER, .min = 0, .max = 10000000, .fallback = "1000",
	  INTO(limits.names),
	  .text = "answers of name servers that each thread may keep" },
	{ "limits.learnt-names", SCHEMA_NUMBER, .min = 0, .max = 10000000, .fallback = "10000",
	  INTO(limits.learnt_names),
	  .text = "addresses that clients were told for names, to be remembered" },
	{ "limits.record-queue", SCHEMA_SIZE, .min = 4 * KIB, .max = KIB * MIB,
	  .fallback = "1MiB", INTO(limits.record_queue_bytes),
	  .text = "bytes of records each thread may hold until they are written" },

	{ "resolver", SCHEMA_MAP, .text = "how names are asked for" },
	{ "resolver.servers", SCHEMA_TEXT, SCHEMA_LIST, .kind = "ip or ip:port",
	  .text = "the name servers, in the order in which they are asked" },
	{ "resolver.timeout", SCHEMA_TIME, .min = 10, .max = HOUR_MS, .fallback = "2s",
	  INTO(resolver.timeout_ms),
	  .text = "for one server to answer" },
	{ "resolver.attempts", SCHEMA_NUMBER, .min = 1, .max = 10, .fallback = "2",
	  INTO(resolver.attempts),
	  .text = "how often to go through the servers" },
	{ "resolver.rotate", SCHEMA_BOOL, .fallback = "false", INTO(resolver.rotate),
	  .text = "begin each question with the next server, not with the first" },

	{ "firewall", SCHEMA_MAP, .text = "the rules that bring traffic here" },
	{ "firewall.mark", SCHEMA_NUMBER, .min = 0, .max = UINT32_MAX, .fallback = "0x6c70",
	  INTO(mark),
	  .text = "mark (SO_MARK) of our own connections; 0: none" },
	{ "firewall.divert-mark", SCHEMA_NUMBER, .min = 1, .max = UINT32_MAX, .fallback = "0x6c71",
	  INTO(firewall.divert_mark),
	  .text = "mark of what is to be delivered here" },
	{ "firewall.mask", SCHEMA_NUMBER, .min = 1, .max = UINT32_MAX, .fallback = "0xffff",
	  INTO(firewall.mask),
	  .text = "the bits of marks that are ours" },
	{ "firewall.table", SCHEMA_NAME, .fallback = "limpid", INTO(firewall.table),
	  .text = "name of the nft table, of family inet" },
	{ "firewall.priority", SCHEMA_TEXT, .kind = "a number from -199 to 200", .fallback = "-150",
	  .text = "priority of the nft chains that look at packets" },
	{ "firewall.route-table", SCHEMA_NUMBER, .min = 1, .max = UINT32_MAX, .fallback = "27760",
	  INTO(firewall.route_table),
	  .text = "routing table by which packets are delivered here" },
	{ "firewall.rule-priority", SCHEMA_NUMBER, .min = 1, .max = 32000, .fallback = "100",
	  INTO(firewall.rule_priority),
	  .text = "priority of the first of the rules that lead to it" },
	{ "firewall.when-down", SCHEMA_WORD, 0, when_down_words, .fallback = "block",
	  INTO(firewall.when_down_pass),
	  .text = "what becomes of it while limpid does not listen" },
	{ "firewall.intercept", SCHEMA_MAPS,
	  .text = "what is intercepted: the first entry that matches decides" },
	{ "firewall.intercept.listener", SCHEMA_TEXT, SCHEMA_REQUIRED,
	  .kind = "name of a listener",
	  .text = "who gets it" },
	{ "firewall.intercept.traffic", SCHEMA_WORD, SCHEMA_LIST, traffic_words,
	  .text = "where it comes from and goes to" },
	{ "firewall.intercept.interface", SCHEMA_TEXT, SCHEMA_LIST, .kind = INTERFACES,
	  .text = "where it comes in; of what this host sends, where it goes out" },
	{ "firewall.intercept.source", SCHEMA_TEXT, SCHEMA_LIST, .kind = NETWORKS,
	  .text = "address of the client" },
	{ "firewall.intercept.destination", SCHEMA_TEXT, SCHEMA_LIST, .kind = NETWORKS,
	  .text = "address of the server" },
	{ "firewall.intercept.port", SCHEMA_PORTS, SCHEMA_LIST,
	  .text = "port of the server" },
	{ "firewall.intercept.network", SCHEMA_WORD, SCHEMA_LIST, network_words,
	  .text = "transport protocol" },
	{ "firewall.intercept.user", SCHEMA_TEXT, SCHEMA_LIST, .kind = "name or number of a user",
	  .text = "who sends it, on this host" },
	{ "firewall.intercept.cgroup", SCHEMA_TEXT, SCHEMA_LIST, .kind = "path of a cgroup v2",
	  .text = "where on this host it is sent" },
	{ "firewall.exempt", SCHEMA_MAPS, SCHEMA_EMPTY,
	  .text = "what is not intercepted, whatever intercept says" },
	{ "firewall.exempt.traffic", SCHEMA_WORD, SCHEMA_LIST, traffic_words,
	  .text = "where it comes from and goes to" },
	{ "firewall.exempt.interface", SCHEMA_TEXT, SCHEMA_LIST, .kind = INTERFACES,
	  .text = "where it comes in; of what this host sends, where it goes out" },
	{ "firewall.exempt.source", SCHEMA_TEXT, SCHEMA_LIST, .kind = NETWORKS,
	  .text = "address of the client" },
	{ "firewall.exempt.destination", SCHEMA_TEXT, SCHEMA_LIST, .kind = NETWORKS,
	  .text = "address of the server" },
	{ "firewall.exempt.port", SCHEMA_PORTS, SCHEMA_LIST,
	  .text = "port of the server" },
	{ "firewall.exempt.network", SCHEMA_WORD, SCHEMA_LIST, network_words,
	  .text = "transport protocol" },
	{ "firewall.exempt.user", SCHEMA_TEXT, SCHEMA_LIST, .kind = "name or number of a user",
	  .text = "who sends it, on this host" },
	{ "firewall.exempt.cgroup", SCHEMA_TEXT, SCHEMA_LIST, .kind = "path of a cgroup v2",
	  .text = "where on this host it is sent" },

	{ "log", SCHEMA_MAP, .text = "what is said on standard error" },
	{ "log.level", SCHEMA_WORD, 0, level_words, .fallback = "info", INTO(log),
	  .text = "the least that is said" },

	{ "record", SCHEMA_MAP, .text = "what is kept" },
	{ "record.flows", SCHEMA_MAP, .text = "a line of JSON for each connection" },
	{ "record.flows.file", SCHEMA_PATH, SCHEMA_REQUIRED, INTO(record_flows),
	  .text = "where to append them" },

	{ "users", SCHEMA_NAMED,
	  .text = "named lists of who may use a listener" },
	{ "users.*", SCHEMA_MAP,
	  .text = "one list" },
	{ "users.*.file", SCHEMA_PATH, SCHEMA_REQUIRED,
	  .text = "a file with one name:hash a line, made by limpid users" },
	{ 0 },
};
/* clang-format on */
