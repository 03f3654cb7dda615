/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_HTTP_H
#define PROTO_HTTP_H

#include "core/parts.h"

/* Serves a client of an HTTP/1 proxy that asks in absolute form, request by request. */
extern const struct proto_ops http_forward_proto_ops;

#endif
