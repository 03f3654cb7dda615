/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic program of the benchmark: what client and origin share.
 *
 * Both are one epoll thread and as cheap as they can be, so that the proxy between them is what is
 * measured: bulk leaves by sendfile from memory and arrives into nothing (MSG_TRUNC).
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum app {
	APP_ECHO,		/* request and the same bytes back */
	APP_HELLO,		/* a ClientHello, and the first bytes of it back */
	APP_DOWN,		/* the origin sends without end */
	APP_UP,			/* the client sends without end */
	APP_BOTH,		/* both send without end */
};

#define HELLO_BYTES 517		/* what many clients pad theirs to */
#define HELLO_RANDOM_AT 11	/* 32 bytes that may be anything */
#define ANSWER_BYTES 64		/* to a ClientHello */

#define BUDGET_BYTES (2 << 20)	/* moved for one connection before the next has its turn */

uint64_t now_ns(void);
_Noreturn void die(const char *what);
int payload_open(void);
ssize_t bulk_send(int fd, int payload, off_t *at);
ssize_t bulk_discard(int fd);
void hello_make(uint8_t *dst, const char *name);
int app_parse(const char *name, enum app *ret_app);

int load_server(int argc, char **argv);
int load_client(int argc, char **argv);

/* Latencies: buckets of 1/64 of a power of two, so at most 1.6 % wide. */
#define HIST_SUB 64
struct hist {
	uint64_t count[64 * HIST_SUB];
	uint64_t total, max_ns;
};
void hist_add(struct hist *h, uint64_t ns);
void hist_reset(struct hist *h);
double hist_us(const struct hist *h, double share);

/* Processor time used so far, read at both ends of the window. */
#define CPU_MAX 8
struct cpu {
	uint64_t at_ns;
	uint64_t used_us[CPU_MAX];	/* one for each file asked for */
	uint64_t busy_us;		/* the whole machine, by /proc/stat */
};
void cpu_read(struct cpu *cpu, char *const *path, size_t count);

#endif
