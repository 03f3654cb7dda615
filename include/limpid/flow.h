/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIMPID_FLOW_H
#define LIMPID_FLOW_H

/*
 * What a callback may ask about the flow it is called for.
 *
 * A flow is one intercepted connection, with a client and, once it has been dialled, a server.
 * Up is from the client to the server, down the way back.  All callbacks of a flow come from one
 * thread, one after the other; a struct limpid_flow and what its accessors return may be used
 * in that thread, during the callback, and nowhere else.
 */

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

struct limpid_flow;
struct sockaddr_storage;

enum limpid_direction {
	LIMPID_UP,   /* client to server */
	LIMPID_DOWN, /* server to client */
};

/* Room for any address as text, its NUL included. */
#define LIMPID_ADDRESS_MAX 80

/* A number that no other flow of the same engine has; from 1. */
uint64_t limpid_flow_id(const struct limpid_flow *flow);

/* The name of the listener that accepted it. */
const char *limpid_flow_listener(const struct limpid_flow *flow);

/* ip:port as text, IPv6 in brackets; "" while it is not known.  Return: @dst. */
const char *limpid_flow_client(const struct limpid_flow *flow, char dst[LIMPID_ADDRESS_MAX]);
const char *limpid_flow_server(const struct limpid_flow *flow, char dst[LIMPID_ADDRESS_MAX]);

/* The same as struct sockaddr_in or sockaddr_in6 of <netinet/in.h>.
 * Return: 0, or -ENOENT while it is not known. */
int limpid_flow_client_sockaddr(const struct limpid_flow *flow, struct sockaddr_storage *ret);
int limpid_flow_server_sockaddr(const struct limpid_flow *flow, struct sockaddr_storage *ret);

/* The name that the client asked for (SNI, Host), in lower case; NULL while it is not known. */
const char *limpid_flow_host(const struct limpid_flow *flow);

/* The rule that decided; NULL while none has, and if none matched. */
const char *limpid_flow_rule(const struct limpid_flow *flow);

/* Bytes read from the sender of @direction so far. */
uint64_t limpid_flow_bytes(const struct limpid_flow *flow, enum limpid_direction direction);

/* Why it ended: a word as in the records ("finished", "server-refused"; "open" while it has
 * not), and a sentence. */
const char *limpid_flow_why(const struct limpid_flow *flow);
const char *limpid_flow_why_text(const struct limpid_flow *flow);

/* A pointer of the embedder's own, NULL at first, for the events (not for interceptors, which
 * have a state each). */
void limpid_flow_set_user(struct limpid_flow *flow, void *user);
void *limpid_flow_user(const struct limpid_flow *flow);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
