/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_NOTIFY_H
#define SYS_NOTIFY_H

/**
 * notify_send() - tell the service manager how we are
 * @state:	assignments, one a line: "READY=1\nSTATUS=serving"
 *
 * Waits at most a second for a manager that does not read.  Source: sd_notify(3).
 *
 * Return: 1 when it was sent, 0 when nobody asked for it (no NOTIFY_SOCKET), or -errno.
 */
int notify_send(const char *state);

#endif
