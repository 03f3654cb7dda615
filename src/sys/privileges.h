/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_PRIVILEGES_H
#define SYS_PRIVILEGES_H

#include <stddef.h>
#include <stdint.h>

/**
 * enum privilege - what limpid does, after it has started, that not everybody may
 * @PRIVILEGE_TRANSPARENT: dial from, and answer as, addresses that are not this host's
 * @PRIVILEGE_MARK:	  set firewall.mark
 * @PRIVILEGE_LOW_PORT:	  speak from ports below 1024 that are a client's or a server's
 * @PRIVILEGE_TIME_WAIT:  end a TIME_WAIT that has the client's ip:port
 * @PRIVILEGE_QUEUE:	  hold SYNs in NFQUEUE
 */
enum privilege {
	PRIVILEGE_TRANSPARENT,
	PRIVILEGE_MARK,
	PRIVILEGE_LOW_PORT,
	PRIVILEGE_TIME_WAIT,
	PRIVILEGE_QUEUE,
	PRIVILEGE_COUNT,
};

/**
 * privileges_drop() - become a user, with what is needed and no more, for good
 * @user:	by name
 * @needed:	mask of 1 << enum privilege: their capabilities are kept
 * @error:	on failure a sentence for people
 *
 * Ids, groups, bounding set; no_new_privs.  The signal that was asked for the parent's death
 * (PR_SET_PDEATHSIG) stays asked for.  Before there are threads: each has its own.
 *
 * Return: 0, or -errno; then the process may have dropped a part, and should end.
 */
int privileges_drop(const char *user, uint32_t needed, char *error, size_t error_cap_bytes);

/* All capabilities, for good; the user stays.  Nothing but system calls.  Return: 0, -errno. */
int privileges_drop_all(void);

#endif
