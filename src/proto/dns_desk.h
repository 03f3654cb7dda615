/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_DNS_DESK_H
#define PROTO_DNS_DESK_H

#include <sys/stat.h>

#include "base/buf.h"
#include "base/list.h"
#include "codec/dns.h"
#include "core/own_ports.h"
#include "core/policy.h"
#include "core/worker.h"
#include "proto/dns.h"
#include "sys/udp.h"

/* What dns.c (clients), dns_udp.c (those without a connection), dns_ask.c (servers) and
 * dns_servers.c (which) share. */

#define DNS_BUFFER_BYTES 65536
#define DNS_SERVERS_MAX 8 /* of resolv.conf */

struct dns_arrival {
	struct watch watch;
	struct dns_desk *desk;
	const struct dns_socket *socket;
};

/**
 * struct dns_desk - one worker's: its clients' queries, and where it asks
 * @asks:	queries that servers have been asked; at most limits.lookups
 * @buffer:	for what comes from servers
 * @next_server: to begin with, with resolver.rotate
 * @host_servers: those of resolv.conf, as it was when @file
 */
struct dns_desk {
	struct worker *worker;
	struct list asks;
	unsigned int n_asks;
	uint8_t *buffer;
	struct udp_batch *batch;
	struct dns_arrival *arrivals;
	size_t n_arrivals;
	unsigned int next_server;
	struct addr host_servers[DNS_SERVERS_MAX];
	size_t n_host_servers;
	struct stat file;
	uint64_t looked_at_file_ms;
};

/**
 * struct dns_client - who asked, and how it is answered
 * @sender:	who has sent the query, if a header says that it is @from's; .family 0: @from
 * @socket:	by UDP: of the listener
 * @stream:	by TCP: its connection
 * @takes_bytes: the longest answer
 */
struct dns_client {
	struct addr from, to, sender;
	uint16_t listener;
	const char *listener_name;
	const struct dns_socket *socket;
	struct dns_stream *stream;
	size_t takes_bytes;
};

/**
 * struct dns_ask - one query on its way
 * @link:	among the desk's
 * @stream_link: among those of client.stream
 * @fd:		towards the server; -1: none
 * @own:	its note, by UDP
 * @by_tcp:	and how
 * @id:		that the server sees; the client's is in @query
 * @first, @tried: the server to begin with, and how many have been asked (again)
 * @query:	header and question
 * @bytes:	the query as it is sent by TCP, with its length in front
 * @in, @sent:	of a connection to a server
 */
struct dns_ask {
	struct list link, stream_link;
	struct dns_desk *desk;
	struct watch watch;
	struct timer timer;
	struct dns_client client;
	struct addr server;
	const struct rule *rule;
	struct own_port *own;
	int fd;
	bool by_tcp;
	struct dns_edns edns;
	uint16_t id;
	unsigned int first, tried;
	struct dns_message query;
	struct buf in;
	size_t sent;
	size_t n_bytes;
	uint8_t bytes[];
};

/* One more query of a client, which is whole.  May answer it at once. */
void dns_query(struct dns_desk *d, const struct dns_client *c, struct span query);

/* A query that is not looked at; it gets no answer. */
void dns_turn_away(struct dns_desk *d, const struct dns_client *c, enum why why);

/* The answer to @a has come (its id is still the server's), or none will (@len 0); @a is gone
 * afterwards. */
void dns_answered(struct dns_ask *a, uint8_t *answer, size_t len);

/* Ask servers for @a, one after the other.  May call dns_answered() before it returns. */
void dns_ask_begin(struct dns_ask *a);

/* NULL: no memory, or too many.  @m is of @query. */
struct dns_ask *dns_ask_new(struct dns_desk *d, struct span query, const struct dns_message *m);
void dns_ask_free(struct dns_ask *a);

/* The servers there are, valid until the next call.  Return: how many. */
size_t dns_servers(struct dns_desk *d, const struct addr **ret);

/* Give a client that has a connection its answer. */
void dns_stream_answer(struct dns_stream *s, struct span answer);
void dns_stream_asks(struct dns_stream *s, struct dns_ask *a);
void dns_stream_forget(struct dns_stream *s, struct dns_ask *a);

#endif
