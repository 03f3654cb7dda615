/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic program of the benchmark: what client and origin share.
 *
 * Both are one epoll thread and as cheap as they can be, so that the proxy between them is what is
 * measured: bulk leaves by sendfile from memory and arrives into nothing (MSG_TRUNC).
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum app {
	APP_ECHO,		/* request and the same bytes back */
	APP_HELLO,		/* a ClientHello, and the first bytes of it back */
	APP_DOWN,		/* the origin sends without end */
	APP_UP,			/* the client sends without end */
	APP_BOTH,		/* both send without end */
	APP_HTTP,		/* GET, keep-alive, a small answer */
	APP_UDP,		/* a datagram and the same back */
	APP_TRAIN,		/* a datagram, and a train of datagrams back */
	APP_SINK,		/* a train of datagrams, and how many have come */
};

#define REQUEST_MAX_BYTES 16384
#define HELLO_BYTES 517		/* what many clients pad theirs to */
#define HELLO_RANDOM_AT 11	/* 32 bytes that may be anything */
#define ANSWER_BYTES 64		/* to a ClientHello */

#define HTTP_NUMBER 16		/* hex digits: the path of a request, and the start of its answer */
#define HTTP_BODY_BYTES 64

#define TRAIN_DATAGRAMS 16
#define TRAIN_BYTES 1200	/* of each */

#define BUDGET_BYTES (2 << 20)	/* moved for one connection before the next has its turn */

uint64_t now_ns(void);
_Noreturn void die(const char *what);
int payload_open(void);
ssize_t bulk_send(int fd, int payload, off_t *at);
ssize_t bulk_discard(int fd);
void hello_make(uint8_t *dst, const char *name);
int app_parse(const char *name, enum app *ret_app);

bool app_is_datagram(enum app app);

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

/* How a client gets to its origin: intercepted (or not at all), or by asking a proxy. */
enum via { VIA_NONE, VIA_SOCKS5, VIA_CONNECT, VIA_HTTP };

/* What a client is asked to do: its options (load_task.c). */
struct task {
	enum app app;
	enum via via;
	struct sockaddr_storage to, from, proxy;
	socklen_t addr_len;
	unsigned int ports, froms, conns, hold;
	size_t size_bytes;
	bool close_each;
	uint64_t count;
	double warm_s, time_s, rate, patience_s;
	const char *name;
	char *cpu[CPU_MAX];
	size_t cpus;
};
void task_parse(struct task *t, int argc, char **argv);
/* The origin's and the client's own address of the @i-th connection. */
void task_addresses(const struct task *t, uint64_t i, struct sockaddr_storage *ret_to,
		    struct sockaddr_storage *ret_from);

/* What came of it. */
struct tally {
	uint64_t units, offered, bytes, errors, stuck;
	struct hist latency;
	char error[128];
};
void tally_error(struct tally *t, const char *what, int error);

/* A warm-up, whose units are dropped, and what is measured after it. */
struct window {
	uint64_t warm_ns, end_ns, now_ns;
	bool measuring;
	struct cpu begin;
};
void window_begin(struct window *w, const struct task *task);
/* Notes the time; false when the window is over. */
bool window_open(struct window *w, const struct task *task, struct tally *t);
void window_print(const struct window *w, const struct task *task, const struct tally *t);

/* A tunnel through a proxy, to be had on a connected socket (load_via.c). */
struct tunnel {
	unsigned int said;
};
int tunnel_begin(struct tunnel *n, int fd, enum via via, const struct sockaddr_storage *to);
/* Returns 1 when it is there, 0 when more must come, -errno. */
int tunnel_go_on(struct tunnel *n, int fd, enum via via, const struct sockaddr_storage *to);
size_t socks_address(uint8_t *dst, const struct sockaddr_storage *to);
size_t host_port(char *dst, size_t cap, const struct sockaddr_storage *to);

/* load_datagram.c */
void datagram_measure(const struct task *task);
void datagram_serve(int fd, enum app app);
void datagram_options(int fd, bool trains);

#endif
