/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LISTENER_H
#define CORE_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "core/backlog.h"
#include "core/parts.h"

struct users;

#define LISTENER_LEARNERS_MAX 6

/**
 * struct listener - a port and an ordered list of learners; only @backlog changes once workers run
 * @name:	for records; not owned
 * @index:	what facts and rules call it
 * @address:	where it listens
 * @fd:		listening socket, owned, shared by all workers
 * @backlog:	how many may wait there
 * @honest:	its clients are accepted once their server has answered: core/knock.h
 * @users:	who may use it, where clients can be asked; NULL: everybody
 * @targets:	1 << enum protocol: a name that the client says in one of these is the target, and
 *		not what it has asked for
 * @inside:	its connections come from another network namespace: their addresses are not
 *		this host's
 */
struct listener {
	const char *name;
	uint16_t index;
	struct addr address;
	int fd;
	struct backlog backlog;
	struct users *users;
	uint32_t targets;
	bool inside;
	bool honest;
	struct learner learners[LISTENER_LEARNERS_MAX];
	unsigned int n_learners;
};

/* Is @target one of these @n listeners?  A flow that goes there would come back. */
bool listeners_include(const struct listener *listeners, unsigned int n, const struct addr *target);

#endif
