/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_DESTINATIONS_H
#define DIAL_DESTINATIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

/**
 * struct destination - an address of a name, as it is put in order
 * @addr:	ip and port
 * @source:	the own address that the kernel would choose for it; .family 0: it knows no way
 * @wanted:	the source address that the plan asks for can be had
 * @open:	policy cannot tell yet whether it may be dialled
 */
struct destination {
	struct addr addr, source;
	bool wanted, open;
};

/**
 * destinations_sort() - the best first
 *
 * Source: RFC 6724 section 6, rules 1, 2, 5, 6, 8, 9 (for IPv6 only: for IPv4 it would undo the
 * turns that servers take) and 10; what the other rules ask for (deprecated addresses, home
 * addresses, encapsulation) is not known here.
 */
void destinations_sort(struct destination *list, size_t n);

/* No IPv4 address could come before @d. */
bool destination_beats_ipv4(const struct destination *d);

#endif
