/* SPDX-License-Identifier: Apache-2.0 */
#include "core/listener.h"
#include "sys/sock.h"

bool listeners_include(const struct listener *listeners, unsigned int n, const struct addr *target)
{
	for (unsigned int i = 0; i < n; i++) {
		const struct addr *a = &listeners[i].address;

		if (listeners[i].inside || a->family != target->family || a->port != target->port)
			continue;
		if (addr_ip_eq(a, target))
			return true;
		if (addr_is_unspecified(a) &&
		    (addr_is_unspecified(target) || sock_ip_is_local(target)))
			return true;
		if (addr_is_unspecified(target) && addr_is_loopback(a))
			return true; /* connecting to 0.0.0.0 means loopback */
	}
	return false;
}
