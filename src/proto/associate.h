/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_ASSOCIATE_H
#define PROTO_ASSOCIATE_H

#include "core/parts.h"

/* SOCKS UDP ASSOCIATE.  f->facts.target is what the client has announced to send from; from then
 * on it is the address that it is told to send to. */
extern const struct proto_ops associate_proto_ops;

#endif
