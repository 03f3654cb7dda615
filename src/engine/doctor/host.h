/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DOCTOR_HOST_H
#define ENGINE_DOCTOR_HOST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Index of an address family. */
enum {
	HOST_V4,
	HOST_V6,
	HOST_FAMILIES,
};

/**
 * struct host - what a host says about itself
 * @root:	stands before every path below /proc; "" but for tests
 * @links:	ip -j -d link; NULL: not to be had, as all of the following
 * @rules:	ip -j rule
 * @routes:	ip -j route show table all
 * @nft:	nft -j list ruleset
 * @nft_text:	nft -a list ruleset: the same for people
 * @iptables:	what iptables-save says of the tables that are written through nft
 * @legacy:	what iptables-legacy-save says
 * @wireguard:	wg show all endpoints
 * @nft_said:	why the rules could not be read, a sentence; NULL: they could
 * @kernel_said: why the kernel refused rules such as ours; NULL: it takes them, or was not asked
 * @run_said:	why `limpid run` was refused; NULL: it was not, or was not asked
 * @has_nft:	there is a program nft
 * @has_ip:	there is a program ip
 * @run_asked:	`limpid run` was tried
 */
struct host {
	char *root;
	json_t *links;
	json_t *rules[HOST_FAMILIES];
	json_t *routes[HOST_FAMILIES];
	json_t *nft;
	char *nft_text;
	char *iptables[HOST_FAMILIES];
	char *legacy[HOST_FAMILIES];
	char *wireguard;
	char *nft_said;
	char *kernel_said;
	char *run_said;
	bool has_nft;
	bool has_ip;
	bool run_asked;
};

/**
 * host_read() - ask this host; changes nothing
 * @with_run:	try `limpid run`, too, with a command that does nothing
 *
 * What cannot be read stays empty.  Return: NULL when out of memory.
 */
struct host *host_read(bool with_run);
void host_free(struct host *h);

/* Is there something at @path, such as "/proc/sys/net/ipv6"? */
bool host_has(const struct host *h, const char *path);

/* The number at the beginning of a file; @fallback when there is none. */
long host_number(const struct host *h, long fallback, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The first line of a file without its end; "" when there is none. */
const char *host_line(const struct host *h, const char *path, char *dst, size_t cap_bytes);

/* The first line of a file that begins with @start, behind it and white space; or "". */
const char *host_field(const struct host *h, const char *path, const char *start, char *dst,
		       size_t cap_bytes);

/**
 * host_rule_text() - a rule of nft as people write it
 * @handle:	as nft gives it; counted for each table
 *
 * Return: @dst; "" when it is not found or does not fit.
 */
const char *host_rule_text(const struct host *h, const char *family, const char *table, long handle,
			   char *dst, size_t cap_bytes);

#endif
