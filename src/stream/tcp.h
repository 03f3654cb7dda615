/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STREAM_TCP_H
#define STREAM_TCP_H

#include "core/stream.h"

/* The lowest layer of every end: its TCP socket. */
extern const struct stream_ops tcp_stream_ops;

#endif
