/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STREAM_TLS_H
#define STREAM_TLS_H

#include "core/stream.h"
#include "stream/tls_context.h"

/**
 * tls_push() - a TLS layer on top of @e
 * @c:		says which role
 *
 * The handshake goes on with whatever is called: tls_open(), a read, a write.  A read yields 0
 * only after the other side's close_notify (RFC 8446 section 6.1); a connection that ends without
 * it has been cut: -ECONNRESET.  -EPROTO: the handshake failed or a record is no good, and the
 * other side has been sent an alert.
 *
 * Return: 0 or -ENOMEM.
 */
int tls_push(struct end *e, struct tls_context *c);

/* Go on with the handshake of the layer on top of @e.  Return: 0, it is done; -EAGAIN; -errno. */
int tls_open(struct end *e);

/* For people: why TLS of the layer on top of @e failed, as its library says; "" if it did not. */
const char *tls_failure(const struct end *e);

#endif
