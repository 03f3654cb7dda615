/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The order: look at the host's addresses and routes; enter new
 * namespaces; start nft; meanwhile set up lo and make the sockets; wait for nft.
 *
 * Each packet that the command sends to anywhere leaves through lo, is marked on its way out
 * (which routes it to "local", see netns_link.c), comes in again through lo, and is given by
 * tproxy to the socket here, with its destination unchanged.  Our own sockets carry another
 * mark and are left alone.  A socket that the command has opened itself on an address of its
 * own wins over tproxy; any other loopback port is intercepted, too, so that servers on the
 * host's loopback are reached through the engine.  If limpid dies, tproxy finds no socket
 * and the packets are dropped (not refused: the kernel sends no RST from an address that is not
 * local): nothing gets out uninspected.
 *
 * Capabilities: as root (better: with SYS_ADMIN and NET_ADMIN) a network namespace suffices.
 * Anybody else gets a user namespace with only the own uid and gid in it.  There this process
 * has all capabilities until execve(2); nft gets NET_ADMIN as an ambient one, which is taken
 * back before the command is run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "sys/command.h"
#include "sys/netns_host.h"
#include "sys/netns_link.h"
#include "sys/netns_setup.h"
#include "sys/netns_sockets.h"
#include "sys/userns.h"

#define HOLD_PRIORITY (-301)	/* before iptables' table raw */
#define MARK_COMMAND 0x6c696d01 /* sent by the command, to be intercepted */
#define MARK_OWN 0x6c696d02	/* sent by limpid's sockets in the namespace */
#define MARK_HELD 0x6c696d03	/* a SYN of the command, on its way through the queue */

/* How a SYN of the command gets into the queue. */
enum hold {
	HOLD_NOT,
	HOLD_BY_NFT,
	HOLD_BY_MARK, /* nf_tables cannot queue: it marks, and a rule of iptables queues */
};

/* Where the sentence about a refusal goes. */
struct complaint {
	char *text;
	size_t cap_bytes;
};

/* Say why, and pass @r on. */
__attribute__((format(printf, 3, 4))) static int refused(const struct complaint *c, int r,
							 const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->text, c->cap_bytes, fmt, args);
	va_end(args);
	return r;
}

struct capabilities {
	struct __user_cap_header_struct head;
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
};

static int get_capabilities(struct capabilities *c)
{
	c->head = (struct __user_cap_header_struct){ .version = _LINUX_CAPABILITY_VERSION_3 };
	return syscall(SYS_capget, &c->head, c->data) < 0 ? -errno : 0;
}

static bool may_do_without_user_namespace(void)
{
	uint32_t needed = 1U << CAP_SYS_ADMIN | 1U << CAP_NET_ADMIN | 1U << CAP_NET_RAW;
	struct capabilities c;

	return !get_capabilities(&c) && (c.data[0].effective & needed) == needed;
}

/* Let programs have NET_ADMIN; @before is for take_back(). */
static int lend_net_admin(struct capabilities *before)
{
	struct capabilities c;
	int r = get_capabilities(before);

	if (r < 0)
		return r;
	c = *before;
	c.data[0].inheritable |= 1U << CAP_NET_ADMIN;
	if (syscall(SYS_capset, &c.head, c.data) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) < 0)
		return -errno;
	return 0;
}

static int take_back(struct capabilities *before)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_NET_ADMIN, 0, 0) < 0 ||
	    syscall(SYS_capset, &before->head, before->data) < 0)
		return -errno;
	return 0;
}

static int read_number(const char *path, long *ret)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	return f && fscanf(f, "%ld", ret) == 1 ? 0 : -ENOENT;
}

/* The setting of this host that forbids namespaces; NULL: none of those that are known. */
static const struct userns_switch *user_namespace_switch(void)
{
	for (const struct userns_switch *s = userns_switches; s->path; s++) {
		char path[128];
		long value;

		snprintf(path, sizeof(path), "/proc/sys/%s", s->path);
		if (!read_number(path, &value) && value == s->forbids)
			return s;
	}
	return NULL;
}

static int refused_namespace(const struct complaint *c, int r, const char *what)
{
	const struct userns_switch *s = user_namespace_switch();

	return refused(
		c, r, "%s refused: %s; %s%s", what, strerror(-r), s ? s->lead : "",
		s ? s->cure
		  : "kernel.unprivileged_userns_clone, user.max_user_namespaces, AppArmor, a "
		    "container or a chroot may forbid them; as root none is needed");
}

static int write_proc(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -errno;
	return 0;
}

static int map_self(const struct complaint *c, unsigned int uid, unsigned int gid)
{
	char line[64];
	int r;

	if (access("/proc/self/uid_map", F_OK) < 0)
		return refused(c, -ENOENT,
			       "no /proc/self/uid_map: /proc is not mounted here; cure: "
			       "mount -t proc proc /proc, or run as root");
	r = write_proc("/proc/self/setgroups", "deny");
	snprintf(line, sizeof(line), "%u %u 1", uid, uid);
	if (!r || r == -ENOENT)
		r = write_proc("/proc/self/uid_map", line);
	snprintf(line, sizeof(line), "%u %u 1", gid, gid);
	if (!r)
		r = write_proc("/proc/self/gid_map", line);
	return r < 0 ? refused_namespace(c, r,
					 "the user namespace exists, but writing its uid_map was")
		     : 0;
}

static int enter(const struct complaint *c, bool with_user)
{
	unsigned int uid = geteuid(), gid = getegid();
	int r;

	if (with_user) {
		if (unshare(CLONE_NEWUSER) < 0)
			return refused_namespace(c, -errno, "a user namespace was");
		r = map_self(c, uid, gid);
		if (r < 0)
			return r;
	}
	if (!unshare(CLONE_NEWNET))
		return 0;
	r = -errno;
	/* The limit is the host's; from the new user namespace it cannot be read. */
	if (r == -ENOSPC)
		return refused(c, r,
			       "a network namespace was refused: %s; "
			       "cure: sysctl user.max_net_namespaces=10000",
			       strerror(-r));
	return refused_namespace(c, r, "a network namespace was");
}

/* "a, b, c" of the addresses of one family; with the loopback ones in front, never empty. */
static void print_own_addrs(FILE *f, const struct netns_host *h, uint8_t family)
{
	char text[ADDR_TEXT_MAX];

	fputs(family == 4 ? "127.0.0.0/8" : "::1", f);
	for (size_t i = 0; i < h->addrs_len; i++)
		if (h->addrs[i].family == family)
			fprintf(f, ", %s", addr_format_ip(&h->addrs[i], text));
}

/* Multicast stays within; what is neither TCP nor UDP is told so (EPERM) unless it does, too. */
static void print_output_chain(FILE *f, const struct netns_host *h)
{
	fprintf(f,
		"chain output {\n"
		" type route hook output priority mangle\n"
		" meta mark %#x accept\n"
		" ip daddr { 224.0.0.0/4, 255.255.255.255 } accept\n"
		" ip6 daddr ff00::/8 accept\n"
		" meta l4proto { tcp, udp } meta mark set %#x accept\n"
		" ip daddr { ",
		MARK_OWN, MARK_COMMAND);
	print_own_addrs(f, h, 4);
	fputs(" } accept\n ip6 daddr { ", f);
	print_own_addrs(f, h, 6);
	fputs(" } accept\n drop\n}\n", f);
}

static void print_own_sockets_accept(FILE *f, const struct netns_host *h)
{
	fputs(" ip daddr { ", f);
	print_own_addrs(f, h, 4);
	fputs(" } socket wildcard <= 1 accept\n ip6 daddr { ", f);
	print_own_addrs(f, h, 6);
	fputs(" } socket wildcard <= 1 accept\n", f);
}

/* Honest connect: a SYN waits here until its server has answered.  Before conntrack. */
static void print_hold_chain(FILE *f, const struct netns_host *h, enum hold hold)
{
	fprintf(f,
		"chain hold {\n"
		" type filter hook prerouting priority %d\n"
		" meta mark != %#x accept\n"
		" meta l4proto != tcp accept\n"
		" tcp flags & (fin | syn | rst | ack) != syn accept\n",
		HOLD_PRIORITY, MARK_COMMAND);
	print_own_sockets_accept(f, h);
	if (hold == HOLD_BY_NFT)
		fprintf(f, " queue num %d bypass\n}\n", NETNS_QUEUE);
	else
		fprintf(f, " meta mark set %#x\n}\n", MARK_HELD);
}

/*
 * "socket wildcard" is 0 or 1 where there is a socket for the packet, bound to one address or
 * to all, and no match where there is none.
 */
static void print_input_chain(FILE *f, const struct netns_host *h)
{
	fprintf(f,
		"chain input {\n"
		" type filter hook prerouting priority mangle\n"
		" meta mark %#x meta mark set %#x\n"
		" meta mark != %#x accept\n",
		MARK_HELD, MARK_COMMAND, MARK_COMMAND);
	print_own_sockets_accept(f, h);
	fprintf(f,
		" meta nfproto ipv4 meta l4proto { tcp, udp } tproxy ip to %s:%d accept\n"
		" meta nfproto ipv6 meta l4proto { tcp, udp } tproxy ip6 to [%s]:%d accept\n"
		"}\n",
		NETNS_LISTEN_V4, NETNS_LISTEN_PORT, NETNS_LISTEN_V6, NETNS_LISTEN_PORT);
}

/* Return: the rules in nft's language, to be freed, or NULL. */
static char *print_rules(const struct netns_host *h, enum hold hold)
{
	char *script = NULL;
	size_t len;
	FILE *f = open_memstream(&script, &len);

	if (!f)
		return NULL;
	fputs("table inet limpid {\n", f);
	print_output_chain(f, h);
	if (hold != HOLD_NOT)
		print_hold_chain(f, h, hold);
	print_input_chain(f, h);
	fputs("}\n", f);
	if (fclose(f)) {
		free(script);
		return NULL;
	}
	return script;
}

static int begin_program(const struct complaint *c, const char *line, const char *input,
			 struct command *program)
{
	int r = command_begin(program, line, input), name = (int)strcspn(line, " ");

	if (r == -ENOENT)
		return refused(c, r,
			       "the program %.*s was not found in PATH, /usr/sbin or /sbin; cure: "
			       "install the package %s",
			       name, line, line[0] == 'n' ? "nftables" : "iptables");
	return r < 0 ? refused(c, r, "the program %.*s cannot be run: %s", name, line, strerror(-r))
		     : 0;
}

/* The same with the capability that it needs. */
static int begin_capable(const struct complaint *c, const char *line, const char *input,
			 struct command *program)
{
	struct capabilities before;
	int r, back;

	/* Root's programs have all of root's capabilities anyway. */
	if (!geteuid() || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_ADMIN, 0, 0) == 1)
		return begin_program(c, line, input, program);
	r = lend_net_admin(&before);
	if (r < 0)
		return refused_namespace(c, r, "the use of capabilities was");
	r = begin_program(c, line, input, program);
	back = take_back(&before);
	return back < 0 && !r
		       ? refused(c, back, "a capability cannot be dropped: %s", strerror(-back))
		       : r;
}

static int begin_rules(const struct complaint *c, const struct netns_host *h, enum hold hold,
		       struct command *nft)
{
	_cleanup_free_ char *script = print_rules(h, hold);

	return script ? begin_capable(c, "nft -f -", script, nft)
		      : refused(c, -ENOMEM, "out of memory");
}

static int end_rules(const struct complaint *c, struct command *nft)
{
	char said[256];
	int r = command_end(nft, said, sizeof(said));

	return r < 0 ? refused(c, r,
			       "nft rules were refused (the kernel needs nf_tables with nft_tproxy "
			       "and nft_socket): %s",
			       said[0] ? said : "nft gave no reason")
		     : 0;
}

static int queue_rule(const struct complaint *c, const char *program)
{
	struct command iptables;
	char line[128], said[256];
	int r;

	snprintf(line, sizeof(line),
		 "%s -t raw -A PREROUTING -m mark --mark %#x -j NFQUEUE --queue-num %d "
		 "--queue-bypass",
		 program, MARK_HELD, NETNS_QUEUE);
	r = begin_capable(c, line, NULL, &iptables);
	if (r < 0)
		return r;
	r = command_end(&iptables, said, sizeof(said));
	return r < 0 ? refused(c, r,
			       "the kernel cannot hold a SYN (it needs nft_queue, or xt_NFQUEUE for "
			       "iptables): %s",
			       said[0] ? said : "iptables gave no reason")
		     : 0;
}

/* nft could not do all of it; is the queue what it lacks? */
static int end_rules_marking(const struct complaint *c, const struct netns_host *h)
{
	struct command nft;
	int r = begin_rules(c, h, HOLD_BY_MARK, &nft);

	if (!r)
		r = end_rules(c, &nft);
	if (!r)
		r = queue_rule(c, "iptables");
	if (!r && h->has_v6)
		r = queue_rule(c, "ip6tables");
	return r;
}

static int setup_inside(const struct complaint *c, const struct netns_host *h,
			const struct netns_wish *wish, struct netns_sockets *ret)
{
	struct netns_sockets s;
	const char *what = "";
	int r = netns_link_setup(h, MARK_COMMAND, &what);

	if (r == -EPERM)
		return refused_namespace(c, r, "setting lo up in the new namespace was");
	if (r < 0)
		return refused(c, r, "%s was refused in the new network namespace: %s", what,
			       strerror(-r));
	r = netns_sockets_make(h->has_v6, wish, MARK_OWN, &s, &what);
	if (r < 0)
		return refused(c, r, "%s was refused in the new network namespace: %s", what,
			       strerror(-r));
	*ret = s;
	return 0;
}

int netns_setup(const struct netns_wish *wish, struct netns_sockets *ret, char *error,
		size_t error_cap_bytes)
{
	struct complaint c = { .text = error, .cap_bytes = error_cap_bytes };
	_cleanup_free_ struct netns_host *host = NEW0(struct netns_host);
	bool with_user = !may_do_without_user_namespace();
	struct netns_sockets s;
	struct command nft;
	int r, rules;

	if (!host)
		return refused(&c, -ENOMEM, "out of memory");
	r = netns_host_look(host);
	if (r < 0)
		return refused(&c, r, "the host's addresses cannot be read: %s", strerror(-r));
	r = enter(&c, with_user);
	if (r < 0)
		return r;
	r = begin_rules(&c, host, wish->honest ? HOLD_BY_NFT : HOLD_NOT, &nft);
	if (r < 0)
		return r;
	r = setup_inside(&c, host, wish, &s);
	if (r < 0) {
		struct complaint unheard = { .text = (char[8]){ 0 }, .cap_bytes = 8 };

		end_rules(&unheard, &nft);
		return r;
	}
	rules = end_rules(&c, &nft);
	if (rules == -EPROTO && wish->honest)
		rules = end_rules_marking(&c, host);
	if (rules < 0) {
		netns_sockets_close(&s);
		return rules;
	}
	*ret = s;
	return 0;
}
