/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "sys/userns.h"

const struct userns_switch userns_switches[] = {
	{ "kernel/unprivileged_userns_clone", 0,
	  "cure: ", "sysctl kernel.unprivileged_userns_clone=1" },
	{ "user/max_user_namespaces", 0, "cure: ", "sysctl user.max_user_namespaces=10000" },
	{ "user/max_net_namespaces", 0, "cure: ", "sysctl user.max_net_namespaces=10000" },
	{ "kernel/apparmor_restrict_unprivileged_userns", 1,
	  "AppArmor restricts them: allow limpid in a profile (userns,), or ",
	  "sysctl kernel.apparmor_restrict_unprivileged_userns=0" },
	{ 0 },
};
