/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_USERNS_H
#define SYS_USERNS_H

/**
 * struct userns_switch - a setting with which a host forbids namespaces to ordinary users
 * @path:	under /proc/sys
 * @forbids:	the value that does
 * @lead:	what stands before the cure in a sentence
 * @cure:	a command
 */
struct userns_switch {
	const char *path;
	long forbids;
	const char *lead;
	const char *cure;
};

/* Ends with a path of NULL. */
extern const struct userns_switch userns_switches[];

#endif
