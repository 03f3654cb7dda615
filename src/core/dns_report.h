/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DNS_REPORT_H
#define CORE_DNS_REPORT_H

#include "codec/dns.h"
#include "core/facts.h"
#include "core/policy.h"
#include "core/why.h"

/**
 * struct dns_report - what became of one query to a DNS listener
 * @target:	where the client sent it: the listener itself
 * @sender:	who sent it, if a header of the PROXY protocol said that it is @client's;
 *		.family 0: the client
 * @server:	who answered; .family 0: nobody was asked, or nobody answered
 * @query:	header and question; the name is "" when there is none
 * @answer:	what the client was given, or would have been had it taken more; empty: nothing
 * @why:	WHY_FINISHED: a server answered
 */
struct dns_report {
	struct addr client, target, sender, server;
	enum network network;
	const char *listener;
	const struct rule *rule;
	enum verdict verdict;
	enum why why;
	const struct dns_message *query;
	struct span answer;
};

#endif
