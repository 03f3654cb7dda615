/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Each worker has a ring of bytes with one producer (the worker) and one
 * consumer (the writer's thread).  An entry is a header and the line; it never wraps: what is
 * left at the end of the ring is skipped by an entry that says so.  `head` and `tail` only
 * grow; their difference is what is in the ring.
 *
 * A worker never waits and makes at most one system call for many lines: whoever finds `asleep`
 * set clears it and wakes the thread, which then sleeps delay_ms so that others may join, and
 * writes all of it with few calls.  Only a worker that serves nobody any more, and closes
 * thousands of flows at once, waits for room, for PATIENCE_MS in all.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "record/writer.h"
#include "sys/log.h"

#define N_SINKS 2
#define OUT_BYTES ((size_t)64 << 10)
#define SLOW_READER_MS 1000
#define PATIENCE_MS 3000
#define SKIP UINT32_MAX

struct entry {
	uint32_t len; /* of the line, or SKIP: go on at the start of the ring */
	uint32_t sink;
};

struct record_queue {
	struct record_writer *writer;
	uint8_t *ring;
	size_t cap;
	_Alignas(64) atomic_size_t head; /* producer */
	_Alignas(64) atomic_size_t tail; /* consumer */
	atomic_ullong lost;
	unsigned int patience_ms; /* the producer's: for how long it may wait for room */
};

struct record_writer {
	struct record_queue *queues;
	unsigned int n_queues;
	unsigned int delay_ms;
	const struct log *log;
	int fds[N_SINKS];
	uint8_t *out[N_SINKS];
	size_t out_len[N_SINKS];
	bool stuck[N_SINKS]; /* its reader stood still when last asked */
	bool torn[N_SINKS];  /* what was written last is not a whole line */
	uint64_t lost_said;
	uint64_t failed; /* lines that could not be written */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool asked, stop; /* under lock */
	atomic_bool asleep, hurry;
};

static size_t entry_bytes(size_t len)
{
	return sizeof(struct entry) + ((len + 7) & ~(size_t)7);
}

static void writer_wake(struct record_writer *w)
{
	pthread_mutex_lock(&w->lock);
	w->asked = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

void record_queue_may_wait(struct record_queue *q)
{
	q->patience_ms = PATIENCE_MS;
	atomic_store(&q->writer->hurry, true);
}

static size_t queue_room(const struct record_queue *q, size_t head)
{
	return q->cap - (head - atomic_load_explicit(&q->tail, memory_order_acquire));
}

static bool wait_for_room(struct record_queue *q, size_t head, size_t bytes)
{
	const struct timespec turn = { .tv_nsec = 1000000 };

	for (; q->patience_ms && bytes > queue_room(q, head); q->patience_ms--) {
		writer_wake(q->writer);
		nanosleep(&turn, NULL);
	}
	return bytes <= queue_room(q, head);
}

bool record_put(struct record_queue *q, enum record_sink sink, struct span line)
{
	size_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
	size_t at = head % q->cap, need = entry_bytes(line.len), left = q->cap - at;
	size_t total = need <= left ? need : left + need;
	struct entry e = { .len = (uint32_t)line.len, .sink = sink };

	if (need > q->cap / 2 ||
	    (total > queue_room(q, head) && !wait_for_room(q, head, total))) {
		atomic_fetch_add(&q->lost, 1);
		return false;
	}
	if (need > left) {
		struct entry skip = { .len = SKIP };

		memcpy(q->ring + at, &skip, sizeof(skip));
		at = 0;
	}
	memcpy(q->ring + at, &e, sizeof(e));
	memcpy(q->ring + at + sizeof(e), line.data, line.len);
	atomic_store(&q->head, head + total);
	if (atomic_load(&q->writer->asleep) && atomic_exchange(&q->writer->asleep, false))
		writer_wake(q->writer);
	return true;
}

void record_lose(struct record_queue *q)
{
	atomic_fetch_add(&q->lost, 1);
}

/* Will a write of up to PIPE_BUF not wait?  A reader that stands still is given one second once,
 * and none until it moves again: neither the other sink nor our end may wait for it. */
static bool can_write(struct record_writer *w, unsigned int sink)
{
	struct pollfd p = { .fd = w->fds[sink], .events = POLLOUT };

	w->stuck[sink] = poll(&p, 1, w->stuck[sink] ? 0 : SLOW_READER_MS) <= 0;
	return !w->stuck[sink];
}

/* A line that was cut off must not spoil the next. */
static void mend_torn(struct record_writer *w, unsigned int sink)
{
	if (w->torn[sink] && can_write(w, sink) && write(w->fds[sink], "\n", 1) == 1)
		w->torn[sink] = false;
}

/* What to write at once of @len bytes: whole lines, so that others may write in between. */
static size_t piece_of(const uint8_t *out, size_t len)
{
	const uint8_t *end = len > PIPE_BUF ? memrchr(out, '\n', PIPE_BUF) : NULL;

	if (end)
		return (size_t)(end - out) + 1;
	return len < PIPE_BUF ? len : PIPE_BUF;
}

static void out_flush(struct record_writer *w, unsigned int sink)
{
	const uint8_t *out = w->out[sink];
	size_t at = 0, len = w->out_len[sink];

	if (len)
		mend_torn(w, sink);
	while (at < len && can_write(w, sink)) {
		ssize_t n = write(w->fds[sink], out + at, piece_of(out + at, len - at));

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			break;
		at += (size_t)n;
	}
	if (at < len && at && out[at - 1] != '\n')
		w->torn[sink] = true;
	while (at < len)
		w->failed += out[at++] == '\n';
	w->out_len[sink] = 0;
}

static void out_line(struct record_writer *w, unsigned int sink, const uint8_t *line, size_t len)
{
	if (w->fds[sink] < 0)
		return;
	if (len + 1 > OUT_BYTES) {
		w->failed++;
		return;
	}
	if (sink == RECORD_TEXT && w->log) {
		memcpy(w->out[sink], line, len);
		w->out[sink][len] = '\0';
		if (w->log->write)
			w->log->write(w->log->user, LOG_INFO, (const char *)w->out[sink]);
		return;
	}
	if (w->out_len[sink] + len + 1 > OUT_BYTES)
		out_flush(w, sink);
	memcpy(w->out[sink] + w->out_len[sink], line, len);
	w->out_len[sink] += len;
	w->out[sink][w->out_len[sink]++] = '\n';
}

/* Take everything out of @q.  True: there was something. */
static bool queue_drain(struct record_writer *w, struct record_queue *q)
{
	size_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
	size_t head = atomic_load(&q->head);
	bool any = tail != head;

	while (tail != head) {
		size_t at = tail % q->cap;
		struct entry e;

		memcpy(&e, q->ring + at, sizeof(e));
		if (e.len == SKIP) {
			tail += q->cap - at;
			continue;
		}
		out_line(w, e.sink, q->ring + at + sizeof(e), e.len);
		tail += entry_bytes(e.len);
		atomic_store_explicit(&q->tail, tail, memory_order_release);
	}
	return any;
}

static void say_lost(struct record_writer *w)
{
	uint64_t lost = w->failed;

	for (unsigned int i = 0; i < w->n_queues; i++)
		lost += atomic_load(&w->queues[i].lost);
	if (lost == w->lost_said)
		return;
	log_line(LOG_WARNING, "records: %llu lost (limits.record-queue is full, or writing failed)",
		 (unsigned long long)(lost - w->lost_said));
	w->lost_said = lost;
}

static bool drain_all(struct record_writer *w)
{
	bool any = false;

	for (unsigned int i = 0; i < w->n_queues; i++)
		any |= queue_drain(w, &w->queues[i]);
	for (unsigned int s = 0; s < N_SINKS; s++)
		out_flush(w, s);
	say_lost(w);
	return any;
}

static bool writer_wait(struct record_writer *w)
{
	bool stop;

	pthread_mutex_lock(&w->lock);
	while (!w->asked && !w->stop)
		pthread_cond_wait(&w->wake, &w->lock);
	w->asked = false;
	stop = w->stop;
	pthread_mutex_unlock(&w->lock);
	return !stop;
}

static void *writer_main(void *arg)
{
	struct record_writer *w = arg;
	struct timespec delay = { .tv_sec = w->delay_ms / 1000,
				  .tv_nsec = (long)(w->delay_ms % 1000) * 1000000 };
	bool run = true;

	log_use(w->log);
	while (run) {
		atomic_store(&w->asleep, true);
		/* what came before `asleep` was seen wakes nobody: look once more */
		if (!drain_all(w))
			run = writer_wait(w);
		if (run && w->delay_ms && !atomic_load(&w->hurry))
			nanosleep(&delay, NULL);
	}
	drain_all(w);
	return NULL;
}

/* What a package would have made (/var/log/limpid), or a service manager. */
static int make_folder_of(const char *path)
{
	_cleanup_free_ char *folder = strdup(path);
	char *slash = folder ? strrchr(folder, '/') : NULL;

	if (!slash)
		return -ENOENT;
	*slash = '\0';
	if (mkdir(folder, 0750) < 0) /* there already: the file is a link to nowhere */
		return errno == EEXIST ? -ENOENT : -errno;
	return 0;
}

static int open_json(const char *path)
{
	const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
	int fd = open(path, flags, 0640);

	if (fd < 0 && errno == ENOENT) {
		int r = make_folder_of(path);

		if (r < 0)
			return r;
		fd = open(path, flags, 0640);
	}
	return fd < 0 ? -errno : fd;
}

int record_writer_new(const char *json_path, unsigned int n_queues, size_t queue_bytes,
		      unsigned int delay_ms, struct record_writer **ret)
{
	struct record_writer *w = NEW0(struct record_writer);
	int r = -ENOMEM;

	if (!w)
		return -ENOMEM;
	w->log = log_used();
	w->fds[RECORD_TEXT] = STDERR_FILENO;
	w->fds[RECORD_JSON] = -1;
	w->n_queues = n_queues;
	w->delay_ms = delay_ms;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	w->queues = aligned_alloc(64, n_queues * sizeof(*w->queues));
	if (!w->queues)
		goto out;
	memset(w->queues, 0, n_queues * sizeof(*w->queues));
	for (unsigned int i = 0; i < n_queues; i++) {
		w->queues[i].writer = w;
		w->queues[i].cap = (queue_bytes + 7) & ~(size_t)7;
		w->queues[i].ring = malloc(w->queues[i].cap);
		if (!w->queues[i].ring)
			goto out;
	}
	for (unsigned int s = 0; s < N_SINKS; s++) {
		w->out[s] = malloc(OUT_BYTES);
		if (!w->out[s])
			goto out;
	}
	if (json_path) {
		r = w->fds[RECORD_JSON] = open_json(json_path);
		if (r < 0)
			goto out;
	}
	r = 0;
out:
	if (r < 0)
		record_writer_free(w);
	else
		*ret = w;
	return r;
}

int record_writer_start(struct record_writer *w)
{
	int r = -pthread_create(&w->thread, NULL, writer_main, w);

	w->running = !r;
	return r;
}

void record_writer_free(struct record_writer *w)
{
	if (!w)
		return;
	if (w->running) {
		pthread_mutex_lock(&w->lock);
		w->stop = true;
		pthread_cond_signal(&w->wake);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
	}
	for (unsigned int i = 0; w->queues && i < w->n_queues; i++)
		free(w->queues[i].ring);
	for (unsigned int s = 0; s < N_SINKS; s++)
		free(w->out[s]);
	if (w->fds[RECORD_JSON] >= 0)
		close(w->fds[RECORD_JSON]);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->wake);
	free(w->queues);
	free(w);
}

struct record_queue *record_writer_queue(struct record_writer *w, unsigned int index)
{
	return &w->queues[index];
}

bool record_writer_has_json(const struct record_writer *w)
{
	return w->fds[RECORD_JSON] >= 0;
}
