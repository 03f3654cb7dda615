/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Changing from root to another user clears the effective and, unless
 * PR_SET_KEEPCAPS says otherwise, the permitted capabilities.  So: groups, bounding set and ids
 * while everything is permitted, then what is needed is put back, and no_new_privs makes sure
 * that no program that is started later brings more.
 *
 * capset(2) and prctl(2) are of a thread, and only the ids are carried to the others by libc:
 * therefore before threads.  capset(2) has no wrapper; libcap is not worth a dependency.
 */
#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/privileges.h"

/* Source: ip(7), socket(7), sock_diag(7); net/netfilter/nfnetlink.c. */
static const int capabilities[] = {
	[PRIVILEGE_TRANSPARENT] = CAP_NET_RAW,
	[PRIVILEGE_MARK] = CAP_NET_RAW, /* since Linux 5.17 */
	[PRIVILEGE_LOW_PORT] = CAP_NET_BIND_SERVICE,
	[PRIVILEGE_TIME_WAIT] = CAP_NET_ADMIN,
	[PRIVILEGE_QUEUE] = CAP_NET_ADMIN,
};
static_assert(ARRAY_SIZE(capabilities) == PRIVILEGE_COUNT, "one for each");

static uint64_t capabilities_of(uint32_t needed)
{
	uint64_t set = 0;

	for (unsigned int i = 0; i < PRIVILEGE_COUNT; i++)
		if (needed >> i & 1)
			set |= (uint64_t)1 << capabilities[i];
	return set;
}

static int set_capabilities(uint64_t set)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)set, .permitted = (uint32_t)set },
		{ .effective = (uint32_t)(set >> 32), .permitted = (uint32_t)(set >> 32) },
	};

	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/* What no program started from here may ever get back. */
static int bound_capabilities(uint64_t set)
{
	for (int i = 0; i < 64; i++) {
		if (set >> i & 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return errno == EINVAL ? 0 : -errno; /* EINVAL: past the last one */
	}
	return 0;
}

static int seal(uint64_t set)
{
	int r;

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	r = set_capabilities(set);
	if (!r && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r;
}

int privileges_drop_all(void)
{
	int r = bound_capabilities(0);

	return r < 0 ? r : seal(0);
}

static int change_ids(const struct passwd *pw)
{
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 ||
	    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return -errno;
	return 0;
}

int privileges_drop(const char *user, uint32_t needed, char *error, size_t error_cap_bytes)
{
	uint64_t set = capabilities_of(needed);
	const struct passwd *pw;
	int signal = 0, r;

	errno = 0;
	pw = getpwnam(user);
	if (!pw) {
		r = errno ? -errno : -ENOENT;
		snprintf(error, error_cap_bytes, "there is no user '%s'", user);
		return r;
	}
	prctl(PR_GET_PDEATHSIG, &signal);
	r = bound_capabilities(set);
	if (!r && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		r = -errno;
	if (!r)
		r = change_ids(pw);
	if (!r)
		r = seal(set);
	if (r < 0)
		snprintf(error, error_cap_bytes, "cannot become user '%s': %s%s", user,
			 strerror(-r), r == -EPERM ? " (needs root)" : "");
	prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	if (signal) /* a change of ids clears it */
		prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0);
	return r;
}
