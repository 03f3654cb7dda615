/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_NETNS_H
#define SYS_NETNS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Index of an address family in the arrays below. */
enum {
	NETNS_V4,
	NETNS_V6,
	NETNS_FAMILIES,
};

/**
 * struct netns_sockets - sockets made inside the command's namespace, to be used outside
 * @tcp:	transparent listening sockets: every connection of the command arrives here;
 *		getsockname(2) of an accepted one is the original destination
 * @udp:	transparent, IP(V6)_RECVORIGDSTADDR: every datagram of the command
 * @reply:	SOCK_RAW/IPPROTO_UDP, transparent, drop-all filter: replies from any address
 * @icmp:	SOCK_RAW/IPPROTO_ICMP(V6), transparent, drop-all filter: port-unreachable from any
 *		address
 * @queue:	honest connect: NFQUEUE NETNS_QUEUE, to which the command's SYNs go
 * @raw:	and SOCK_RAW/IPPROTO_RAW, transparent: what they are answered with
 *
 * Non-blocking, close-on-exec; -1 where the host lacks the family.
 */
struct netns_sockets {
	int tcp[NETNS_FAMILIES];
	int udp[NETNS_FAMILIES];
	int reply[NETNS_FAMILIES];
	int icmp[NETNS_FAMILIES];
	int raw[NETNS_FAMILIES];
	int queue;
};

/* The number of the queue within the namespace. */
#define NETNS_QUEUE 1

/**
 * struct netns_wish - how a command is to be intercepted
 * @honest:	hold its SYNs; without a queue for them there is no namespace
 * @queue_length: how many at once
 */
struct netns_wish {
	bool honest;
	uint32_t queue_length;
};

struct netns_command;

/**
 * netns_command_new() - fork a helper with a network namespace of its own, ready to become @argv
 * @argv:	NULL-terminated; argv[0] is looked up in PATH
 * @wish:	what is not the same for every command
 * @ret:	the helper, waiting for netns_command_go()
 * @sockets:	descriptors the caller now owns
 * @error:	on failure a sentence for people: what was refused, by what, and the cure
 * @error_cap_bytes: room in @error
 *
 * To be called before any thread exists, with the signal mask, the dispositions and the
 * inheritable descriptors that the command shall have, by the thread that lives longest (the
 * command is killed when that thread ends).  As root: a network namespace only, so that the
 * command keeps its identities; else a user namespace with the own uid and gid mapped, too.
 * The host's addresses are the command's addresses; families that the host cannot reach are
 * unreachable inside.
 *
 * Return: 0 or -errno with @error set.
 */
int netns_command_new(char *const argv[], const struct netns_wish *wish, struct netns_command **ret,
		      struct netns_sockets *sockets, char *error, size_t error_cap_bytes);

/**
 * netns_command_go() - let the command begin
 *
 * From here on the calling thread has the signals blocked that netns_command_wait() takes up,
 * and the process ignores INT, QUIT, TSTP, TTIN and TTOU.
 *
 * Return: 0 or -errno.
 */
int netns_command_go(struct netns_command *c);

/**
 * netns_command_wait() - pass signals on, stop and continue with the command, until it ends
 *
 * INT and QUIT are the terminal's business and ignored here; TERM, HUP, USR1, USR2 and WINCH go
 * on to the command, unless they come from the terminal, which has told the command itself.
 * Background processes that the command leaves behind are not waited for.  Called by the main
 * thread while the engine's threads (which must have all signals blocked) carry the traffic.
 *
 * Return: the command's exit status, 128+n if signal n ended it, 127 not found, 126 not
 * executable (as in sh(1)).
 */
int netns_command_wait(struct netns_command *c);

/* A command that still runs is killed. */
void netns_command_free(struct netns_command *c);

#endif
