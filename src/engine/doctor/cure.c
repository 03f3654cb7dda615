/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "engine/doctor/checks.h"
#include "engine/doctor/cure.h"

#define RULE_TEXT_MAX 2048
#define NOT_SYN "tcp flags & (syn | ack) != syn"

static void fit(int n, char *dst, size_t cap_bytes)
{
	if (n < 0 || (size_t)n >= cap_bytes)
		dst[0] = '\0';
}

void cure_exempt(const struct fw_chain *chain, uint32_t mark, char *dst, size_t cap_bytes)
{
	int n = chain->iptables
			? snprintf(dst, cap_bytes, "%s -t %s -I %s -m mark --mark 0x%x -j RETURN",
				   chain->iptables, chain->table, chain->name, mark)
			: snprintf(dst, cap_bytes, "nft insert rule %s %s %s meta mark 0x%x return",
				   chain->family, chain->table, chain->name, mark);

	fit(n, dst, cap_bytes);
}

void cure_accept(const struct fw_chain *chain, const struct fw_rule *like, char *dst,
		 size_t cap_bytes)
{
	uint32_t value = 1, mask = UINT32_MAX;
	int n;

	rule_divert_mark(like, &value, &mask);
	n = chain->iptables
		    ? snprintf(dst, cap_bytes, "%s -t %s -I %s -m mark --mark 0x%x/0x%x -j ACCEPT",
			       chain->iptables, chain->table, chain->name, value, mask)
		    : snprintf(dst, cap_bytes,
			       "nft 'insert rule %s %s %s meta mark & 0x%x == 0x%x accept'",
			       chain->family, chain->table, chain->name, mask, value);
	fit(n, dst, cap_bytes);
}

void cure_divert(const struct fw_rule *r, int family, uint32_t l4, char *dst, size_t cap_bytes)
{
	const struct fw_chain *c = r->chain;
	uint32_t value = 1, mask = UINT32_MAX;
	const char *what;
	char set[64];
	int n;

	rule_divert_mark(r, &value, &mask);
	if (c->iptables) {
		what = l4 == L4_TCP	   ? "-p tcp ! --syn"
		       : family == HOST_V4 ? "-p icmp"
					   : "-p icmpv6";
		n = snprintf(dst, cap_bytes,
			     "%s -t %s -I %s %s -m socket --transparent -j MARK "
			     "--set-xmark 0x%x/0x%x",
			     c->iptables, c->table, c->name, what, value, mask);
		fit(n, dst, cap_bytes);
		return;
	}
	if (mask == UINT32_MAX)
		snprintf(set, sizeof(set), "0x%x", value);
	else
		snprintf(set, sizeof(set), "meta mark & 0x%x | 0x%x", ~mask, value);
	what = l4 == L4_TCP	   ? NOT_SYN
	       : family == HOST_V4 ? "meta l4proto icmp"
				   : "meta l4proto icmpv6";
	n = snprintf(dst, cap_bytes,
		     "nft 'insert rule %s %s %s %s%s socket transparent 1 meta mark set %s accept'",
		     c->family, c->table, c->name,
		     strcmp(c->family, "inet") ? ""
		     : family == HOST_V4       ? "meta nfproto ipv4 "
					       : "meta nfproto ipv6 ",
		     what, set);
	fit(n, dst, cap_bytes);
}

/* The rule as its own program writes it; "" when it cannot be had. */
static const char *text_of(const struct host *h, const struct fw_rule *r,
			   char dst[static RULE_TEXT_MAX])
{
	if (!r->own_chain->iptables)
		return host_rule_text(h, r->own_chain->family, r->own_chain->table, r->id, dst,
				      RULE_TEXT_MAX);
	fit(snprintf(dst, RULE_TEXT_MAX, "%s", r->text), dst, RULE_TEXT_MAX);
	return dst;
}

/* The command that puts @before, @text, @after in the place of @r. */
static void replace(const struct fw_rule *r, const char *before, const char *text,
		    const char *after, char *dst, size_t cap_bytes)
{
	const struct fw_chain *c = r->own_chain;
	int n = c->iptables
			? snprintf(dst, cap_bytes, "%s -t %s -R %s %ld %s%s%s", c->iptables,
				   c->table, c->name, r->id, before, text, after)
			: snprintf(dst, cap_bytes, "nft 'replace rule %s %s %s handle %ld %s%s%s'",
				   c->family, c->table, c->name, r->id, before, text, after);

	fit(n, dst, cap_bytes);
}

void cure_without_syn(const struct host *h, const struct fw_rule *r, char *dst, size_t cap_bytes)
{
	static const char tcp[] = "-p tcp ";
	char text[RULE_TEXT_MAX], *said;

	dst[0] = '\0';
	if (!*text_of(h, r, text))
		return;
	if (!r->own_chain->iptables) {
		replace(r, NOT_SYN " ", text, "", dst, cap_bytes);
		return;
	}
	said = strstr(text, tcp);
	if (said)
		memmove(said, said + strlen(tcp), strlen(said + strlen(tcp)) + 1);
	replace(r, "-p tcp ! --syn ", text, "", dst, cap_bytes);
}

/* What stands before the target of a rule: the conditions. */
static bool cut_target(char *text, const char *target)
{
	char *p = strstr(text, target);

	if (!p)
		return false;
	while (p > text && p[-1] == ' ')
		p--;
	*p = '\0';
	return true;
}

void cure_block(const struct host *h, const struct fw_rule *r, char *dst, size_t cap_bytes)
{
	const struct fw_chain *c = r->own_chain;
	char text[RULE_TEXT_MAX];

	dst[0] = '\0';
	if (c->iptables || !*text_of(h, r, text) || !cut_target(text, "tproxy "))
		return;
	fit(snprintf(dst, cap_bytes, "nft 'add rule %s %s %s handle %ld %s%sdrop'", c->family,
		     c->table, c->name, r->id, text, *text ? " " : ""),
	    dst, cap_bytes);
}

void cure_hold(const struct host *h, const struct fw_rule *r, int family, unsigned int queue,
	       char *dst, size_t cap_bytes)
{
	const char *program = family == HOST_V4 ? "iptables" : "ip6tables";
	char text[RULE_TEXT_MAX];

	/* As iptables says it; what nft says can only be guessed at. */
	if (!r || !r->own_chain->iptables || !strstr(r->text, "-p tcp") || !*text_of(h, r, text) ||
	    !cut_target(text, "-j TPROXY"))
		snprintf(text, sizeof(text), "%s%s%s-p tcp", r && r->iif[0] ? "-i " : "",
			 r ? r->iif : "", r && r->iif[0] ? " " : "");
	fit(snprintf(dst, cap_bytes, "%s -t raw -A PREROUTING %s --syn -j NFQUEUE --queue-num %u",
		     program, text, queue),
	    dst, cap_bytes);
}

bool cure_tproxy_address(const struct host *h, const struct fw_rule *r, const struct addr *a,
			 char *dst, size_t cap_bytes)
{
	char text[RULE_TEXT_MAX], after[RULE_TEXT_MAX], ip[ADDR_TEXT_MAX], with[ADDR_TEXT_MAX + 64];
	const char *rest = text_of(h, r, text), *end;

	if (!*rest || r->families == (FAMILY_V4 | FAMILY_V6))
		return false;
	if (r->own_chain->iptables) {
		end = strstr(rest, "--on-ip ");
		end = end ? strchr(end + strlen("--on-ip "), ' ') : NULL;
		snprintf(with, sizeof(with), "-j TPROXY --on-port %u --on-ip %s", a->port,
			 addr_format_ip(a, ip));
	} else {
		end = strstr(rest, "tproxy ");
		end = end ? strchr(end, ':') : NULL;
		end = end ? end + strcspn(end, " ") : NULL;
		snprintf(with, sizeof(with), " tproxy %s to %s", a->family == 6 ? "ip6" : "ip",
			 addr_format(a, ip));
	}
	if (!end)
		return false;
	snprintf(after, sizeof(after), "%s%s", with, end);
	if (!cut_target(text, r->own_chain->iptables ? "-j TPROXY" : "tproxy "))
		return false;
	replace(r, text, r->own_chain->iptables ? " " : "", after, dst, cap_bytes);
	return dst[0];
}

void cure_mark(const struct host *h, const struct fw_rule *r, char *dst, size_t cap_bytes)
{
	char text[RULE_TEXT_MAX];

	dst[0] = '\0';
	if (!*text_of(h, r, text))
		return;
	if (r->own_chain->iptables) {
		cut_target(text, "--tproxy-mark");
		replace(r, "", text, " --tproxy-mark 0x1/0x1", dst, cap_bytes);
		return;
	}
	cut_target(text, " accept");
	replace(r, "", text, " meta mark set 0x1 accept", dst, cap_bytes);
}
