/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DOCTOR_CHECKS_H
#define ENGINE_DOCTOR_CHECKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/config.h"
#include "engine/doctor/chains.h"
#include "engine/doctor/doctor.h"
#include "engine/doctor/host.h"

#define CURE_MAX 4096

/**
 * struct examination - what a check sees
 * @config:	NULL: none was given
 * @path:	of the configuration
 * @explicit:	some listener is addressed by clients that know their proxy
 * @honest:	some listener accepts a client once its server has answered
 * @routed:	a tproxy listener takes traffic from elsewhere
 * @from_here:	a listener takes traffic of this host
 * @keeps:	some rule of the configuration keeps source addresses
 * @families:	FAMILY_... of the listeners that rules send connections to
 * @check:	name of the check that runs
 */
struct examination {
	const struct host *host;
	const struct config *config;
	const char *path;
	struct chains *chains;
	bool tproxy, redirect, explicit, honest, keeps, routed, from_here;
	uint32_t families;
	const char *check;
	struct findings *findings;
};

/* Note a finding of the check that runs.  @subject and @cure may be "". */
__attribute__((format(printf, 5, 6))) void note(struct examination *e, enum finding_status status,
						const char *subject, const char *cure,
						const char *fmt, ...);

/* Is it a rule that sends packets to @l at @a?  Whether they get there is not asked. */
bool rule_is_for(const struct fw_rule *r, const struct listener_config *l, const struct addr *a);

/* Is it a rule that sends packets to any listener of the configuration? */
bool rule_is_ours(const struct examination *e, const struct fw_rule *r);

/* The mark with which a tproxy rule delivers.  Return: is there one? */
bool rule_divert_mark(const struct fw_rule *r, uint32_t *ret_value, uint32_t *ret_mask);

/* The mark with which one of our tproxy rules for these families delivers. */
bool find_divert_mark(const struct examination *e, uint32_t families, uint32_t *ret_value,
		      uint32_t *ret_mask);

/* Does rule @i of an output chain mark connections of this host for one of our tproxy rules? */
bool rule_marks_for_us(const struct examination *e, const struct fw_chain *c, size_t i);

/* Does the reverse look-up of what our tproxy rules mark go past the table that delivers it? */
bool routes_past_divert(const struct examination *e, int family);

/* checks of the kernel's settings (kernel.c) */
void check_loopback(struct examination *e);
void check_ipv6(struct examination *e);
void check_forwarding(struct examination *e);
void check_rp_filter(struct examination *e);
void check_src_valid_mark(struct examination *e);
void check_bridge(struct examination *e);
void check_timestamps(struct examination *e);
void check_early_demux(struct examination *e);
void check_conntrack(struct examination *e);

/* what a process of limpid may do and have (process.c) */
void check_programs(struct examination *e);
void check_kernel(struct examination *e);
void check_run(struct examination *e);
void check_user_namespaces(struct examination *e);
void check_capabilities(struct examination *e);
void check_descriptors(struct examination *e);
void check_pipes(struct examination *e);
void check_ports(struct examination *e);

/* who may use it (access.c) */
void check_open_proxy(struct examination *e);

/* what becomes of marked packets (routes.c) */
void check_policy_routing(struct examination *e);
void check_default_route(struct examination *e);

/* whose datagrams are intercepted (tunnels.c) */
void check_tunnels(struct examination *e);

/* the firewall's rules (rules.c, marks.c) */
void check_rules(struct examination *e);
void check_loop(struct examination *e);
void check_return_path(struct examination *e);
void check_translation(struct examination *e);
void check_queue(struct examination *e);
void check_syn(struct examination *e);
void check_when_down(struct examination *e);
void check_input(struct examination *e);
void check_route_localnet(struct examination *e);
void check_marks(struct examination *e);

#endif
