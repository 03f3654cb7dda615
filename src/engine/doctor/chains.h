/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DOCTOR_CHAINS_H
#define ENGINE_DOCTOR_CHAINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "engine/doctor/host.h"

#define FAMILY_V4 (1u << HOST_V4)
#define FAMILY_V6 (1u << HOST_V6)
#define L4_TCP 1u
#define L4_UDP 2u
#define L4_ICMP 4u
#define L4_OTHER 8u
#define L4_ALL 15u

#define MARK_TESTS_MAX 3

enum chain_hook {
	HOOK_NONE,
	HOOK_PREROUTING,
	HOOK_INPUT,
	HOOK_FORWARD,
	HOOK_OUTPUT,
	HOOK_POSTROUTING,
};

enum rule_target {
	TARGET_NONE,
	TARGET_TPROXY,
	TARGET_REDIRECT,
	TARGET_DNAT,
	TARGET_QUEUE, /* to.port: its number */
	TARGET_SNAT,  /* or masquerading */
};

enum rule_end {
	END_GOES_ON, /* the next rule is looked at */
	END_ACCEPT,
	END_DROP, /* or reject */
	END_RETURN,
	END_JUMP, /* or goto */
};

/* (packet's mark & mask) == value, or != with @is_not. */
struct mark_test {
	uint32_t value, mask;
	bool is_not;
};

/**
 * struct fw_rule - what matters here of a rule, of nft or of iptables
 * @chain:	the base chain it is reached from
 * @own_chain:	where it is written; the same unless there was a jump
 * @id:		nft: its handle; iptables: its number in @own_chain, from 1
 * @text:	iptables: the rule behind "-A CHAIN "; NULL for nft, see host_rule_text()
 * @families:	FAMILY_...: packets it can match
 * @l4:		L4_...: the same
 * @iif:	interface the packet must come in by, "" any
 * @tests:	conditions on the mark; all must hold
 * @without_syn: the first packet of a connection cannot match
 * @socket:	asks whether a transparent socket belongs to the packet
 * @owner:	asks for user, group or cgroup
 * @narrowed:	asks for something else, such as a port
 * @mark_set:	mark becomes (mark & ~mark_mask) | mark_value
 * @mark_copied: mark becomes, in the bits of mark_mask, something not known
 * @to:		TARGET_...: where to; family 0: not said
 * @end:	what happens next
 * @jump:	END_JUMP: name of a chain in the same table
 * @scope_end:	flattened: index behind the last rule that a return here skips
 */
struct fw_rule {
	const struct fw_chain *chain, *own_chain;
	long id;
	char *text;
	uint32_t families, l4;
	char iif[16];
	struct mark_test tests[MARK_TESTS_MAX];
	size_t n_tests;
	bool without_syn, socket, owner, narrowed;
	bool mark_set, mark_copied;
	uint32_t mark_value, mark_mask;
	enum rule_target target;
	struct addr to;
	enum rule_end end;
	char *jump;
	size_t scope_end;
};

/**
 * struct fw_chain - a chain of nft or iptables
 * @family:	as nft names it: "ip", "ip6", "inet"
 * @iptables:	NULL for nft; otherwise the program, "iptables" or "ip6tables-legacy"
 * @flat:	base chains: the rules in the order packets meet them, jumps followed; borrows
 *		their strings
 */
struct fw_chain {
	char *family, *table, *name;
	const char *iptables;
	enum chain_hook hook;
	int priority;
	bool drops; /* policy */
	struct fw_rule *rules;
	size_t n_rules, cap_rules;
	struct fw_rule *flat;
	size_t n_flat, cap_flat;
};

/**
 * struct chains - all rules of the host
 * @opaque:	some rules of iptables could not be read
 */
struct chains {
	struct fw_chain **all;
	size_t n, cap;
	bool opaque;
};

/* Read all there is in @h.  NULL: out of memory. */
struct chains *chains_new(const struct host *h);
void chains_free(struct chains *c);

/* For the readers.  NULL: out of memory. */
struct fw_chain *chains_add(struct chains *c, const char *family, const char *table,
			    const char *name);
struct fw_rule *chain_add_rule(struct fw_chain *chain);
struct fw_chain *chains_find(const struct chains *c, const char *family, const char *iptables,
			     const char *table, const char *name);

/* Return: 0 or -ENOMEM. */
int chains_read_nft(struct chains *c, const struct host *h);
int chains_read_iptables(struct chains *c, const char *text, const char *program, int family);

/* Could a packet that carries @mark match, as far as marks go? */
bool rule_takes_mark(const struct fw_rule *r, uint32_t mark);

/* Does it ask for a mark that @mark has, and a packet without any has not? */
bool rule_asks_mark(const struct fw_rule *r, uint32_t mark);

/* How a rule keeps packets with @mark out of rule number @i of @chain->flat. */
enum guard {
	GUARD_NONE,
	GUARD_OWNER, /* only who sent them is asked for */
	GUARD_MARK,
};
enum guard chain_guard(const struct fw_chain *chain, size_t i, uint32_t mark);

/* "inet limpid prerouting", "iptables mangle PREROUTING" */
#define CHAIN_TEXT_MAX 200
const char *chain_text(const struct fw_chain *c, char dst[static CHAIN_TEXT_MAX]);

#endif
