/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_RAW_H
#define PROTO_RAW_H

#include "core/parts.h"

/* Bytes as they are: the two lanes are joined end to end. */
extern const struct proto_ops raw_proto_ops;

#endif
