/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DOCTOR_CURE_H
#define ENGINE_DOCTOR_CURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "engine/doctor/chains.h"

/*
 * Commands that mend a rule where it stands, in the language it is written in; for a shell.
 * @dst is always NUL-terminated; a command that would not fit is left out ("").
 */

/* Let what carries @mark pass @chain. */
void cure_exempt(const struct fw_chain *chain, uint32_t mark, char *dst, size_t cap_bytes);

/* Accept what carries the mark of @like (a tproxy rule) in @chain. */
void cure_accept(const struct fw_chain *chain, const struct fw_rule *like, char *dst,
		 size_t cap_bytes);

/* Divert packets of transparent sockets, with the mark of the tproxy rule @r, in its chain.
 * @l4: L4_TCP or L4_ICMP. */
void cure_divert(const struct fw_rule *r, int family, uint32_t l4, char *dst, size_t cap_bytes);

/* The rule @r, but not for SYN. */
void cure_without_syn(const struct host *h, const struct fw_rule *r, char *dst, size_t cap_bytes);

/* Behind the tproxy rule @r: drop what it has not taken. */
void cure_block(const struct host *h, const struct fw_rule *r, char *dst, size_t cap_bytes);

/* Hold the SYNs that the tproxy rule @r (NULL: any) takes, before it does. */
void cure_hold(const struct host *h, const struct fw_rule *r, int family, unsigned int queue,
	       char *dst, size_t cap_bytes);

/* The tproxy rule @r with the address of @a.  Return: false: not with this rule. */
bool cure_tproxy_address(const struct host *h, const struct fw_rule *r, const struct addr *a,
			 char *dst, size_t cap_bytes);

/* The tproxy rule @r with a mark. */
void cure_mark(const struct host *h, const struct fw_rule *r, char *dst, size_t cap_bytes);

#endif
