/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STREAM_TLS_PROFILE_H
#define STREAM_TLS_PROFILE_H

#include "core/parts.h"
#include "stream/tls_context.h"

struct tls_profile;

/**
 * tls_profile_new() - what one entry of a configuration says, with the context of the first thread
 * @s:		copied, and what it points to; ticket keys are made
 * @name:	what log lines call it
 *
 * Return: 0, -EINVAL with @ret_fault set, -ENOMEM.
 */
int tls_profile_new(const struct tls_settings *s, const char *name, struct tls_profile **ret,
		    struct tls_fault *ret_fault);

/* Make a context for each of @n_workers.  Before they run.  Return: as tls_profile_new(). */
int tls_profile_share(struct tls_profile *p, unsigned int n_workers, struct tls_fault *ret_fault);

/* The next client of each thread has the files looked at at once.  From any thread. */
void tls_profile_look_again(struct tls_profile *p);

void tls_profile_free(struct tls_profile *p);

/**
 * tls_layer_ops - the layer as parts push it; its conf is a struct tls_profile
 *
 * Files that have changed are read again, looked for once in a second in which a layer is pushed;
 * what cannot be used is said in the log, and what was used before is used on.
 */
extern const struct layer_ops tls_layer_ops;

#endif
