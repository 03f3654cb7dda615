/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_GUARD_H
#define SYS_GUARD_H

#include <stdint.h>
#include <sys/types.h>

/* A process that waits for the end of this one, however it comes. */
struct guard {
	pid_t pid;
	int alive_fd;
};

/**
 * guard_start() - fork a process that calls @work once this process is gone
 * @work:	returns the exit status of the guard
 * @arg:	passed to @work
 *
 * To be called before there is a second thread.  The guard has a session of its own, ignores
 * the signals that end this process, and keeps no descriptor but standard error.
 *
 * Return: 0 or -errno.
 */
int guard_start(int (*work)(uint64_t arg), uint64_t arg, struct guard *ret);

/* Let it do its work now, and wait for that.  Return: its exit status; -ECHILD: it was killed. */
int guard_end(struct guard *g);

#endif
