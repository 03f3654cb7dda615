/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_NFT_H
#define SYS_NFT_H

#include <stddef.h>
#include <sys/types.h>

/* nft(8) at work on a script; it runs beside the caller until nft_end(). */
struct nft {
	pid_t pid;
	int complaint_fd;
};

/**
 * nft_begin() - start "nft -f -" in the namespaces of this process
 * @script:	NUL-terminated
 *
 * nft is looked up in PATH, then in /usr/sbin, /sbin and /usr/local/sbin.
 *
 * Return: 0, -ENOENT if there is no nft, or another -errno.
 */
int nft_begin(struct nft *n, const char *script);

/**
 * nft_end() - wait until nft has done all or nothing of its script
 * @complaint:	the first line of what it said, escaped; "" on success
 * @cap_bytes:	room in @complaint, >= 8
 *
 * Return: 0, -EPROTO if nft failed, or another -errno.
 */
int nft_end(struct nft *n, char *complaint, size_t cap_bytes);

#endif
