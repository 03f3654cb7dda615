/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_FDPASS_H
#define SYS_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

/* Most descriptors in one message. */
#define FDPASS_MAX 16

/**
 * fdpass_send() - one message with descriptors over a unix(7) sequenced-packet socket
 * @sock:	one end of a socketpair
 * @msg:	at least one byte
 * @len_bytes:	length of @msg
 * @fds:	stay open here
 * @count:	<= FDPASS_MAX, 0 is allowed
 *
 * Return: 0 or -errno.
 */
int fdpass_send(int sock, const void *msg, size_t len_bytes, const int *fds, size_t count);

/**
 * fdpass_receive() - the other end of fdpass_send()
 * @sock:	one end of a socketpair
 * @msg:	where the message goes
 * @cap_bytes:	room in @msg; a longer message is -EMSGSIZE
 * @fds:	room for FDPASS_MAX descriptors; they come close-on-exec and belong to the caller
 * @ret_count:	how many came
 *
 * Return: the length of the message, 0 when the other end is closed, or -errno.
 */
ssize_t fdpass_receive(int sock, void *msg, size_t cap_bytes, int *fds, size_t *ret_count);

#endif
