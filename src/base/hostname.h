/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HOSTNAME_H
#define BASE_HOSTNAME_H

#include <stdbool.h>

#include "base/span.h"

/* Room for a name and its NUL; names have at most 253 characters. */
#define HOSTNAME_CAP 254

/**
 * hostname_parse() - a domain name as we keep it: lower case, without a trailing dot
 *
 * Letters, digits, '-' and '_' in labels of 1..63 characters, 253 in all; one trailing dot is
 * dropped.  Underscores are no host names, but browsers and servers use them all the same.  An
 * IPv4 address, which has the same characters, is no name either.
 * Source: RFC 1123 section 2.1, RFC 1035 section 2.3.4.
 *
 * Return: 0, or -EINVAL; @ret is NUL-terminated on success and undefined otherwise.
 */
int hostname_parse(struct span s, char ret[static HOSTNAME_CAP]);

/* @s is an IPv4 or IPv6 address (no scope, no brackets).  Asks nobody. */
bool hostname_is_ip(struct span s);

#endif
