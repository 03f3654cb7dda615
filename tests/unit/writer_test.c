/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of records: lines arrive whole and in the order of their queue; what is lost is
 * counted, and said; nobody waits for a disk.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "record/writer.h"

#define LINE_MAX_BYTES 4096

struct place {
	char folder[64], file[96];
	int said_fd, stderr_fd; /* where stderr goes meanwhile, and where it went */
};

static void place_init(struct place *p)
{
	snprintf(p->folder, sizeof(p->folder), "/tmp/limpid-writer-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	snprintf(p->file, sizeof(p->file), "%s/flows.json", p->folder);
	fflush(stderr);
	p->said_fd = memfd_create("said", MFD_CLOEXEC);
	p->stderr_fd = dup(STDERR_FILENO);
	assert_true(dup2(p->said_fd, STDERR_FILENO) >= 0);
}

/* Give stderr back.  Return: what was said there; to be freed. */
static char *place_said(struct place *p)
{
	off_t len = lseek(p->said_fd, 0, SEEK_END);
	char *said = calloc(1, (size_t)len + 1);

	assert_int_equal(pread(p->said_fd, said, (size_t)len, 0), len);
	assert_true(dup2(p->stderr_fd, STDERR_FILENO) >= 0);
	close(p->stderr_fd);
	close(p->said_fd);
	return said;
}

static void place_done(struct place *p)
{
	unlink(p->file);
	rmdir(p->folder);
}

/* The sum of all "N lost" in @said; frees it. */
static unsigned long count_said(char *said)
{
	unsigned long sum = 0;

	for (char *at = said; (at = strstr(at, "records: ")); at++)
		sum += strtoul(at + strlen("records: "), NULL, 10);
	free(said);
	return sum;
}

static FILE *open_lines(const char *path)
{
	FILE *f = fopen(path, "re");

	assert_non_null(f);
	return f;
}

/* A line that says who wrote it, which it is, and whose rest can be checked. */
static struct span make_line(char *dst, unsigned int who, unsigned int seq, size_t len)
{
	int n = snprintf(dst, LINE_MAX_BYTES, "%u %u %zu ", who, seq, len);

	for (size_t i = (size_t)n; i < len; i++)
		dst[i] = (char)('a' + (seq + i) % 26);
	return span_of(dst, (size_t)n > len ? (size_t)n : len);
}

static void check_line(const char *line, unsigned int *ret_who, unsigned int *ret_seq)
{
	char expect[LINE_MAX_BYTES];
	struct span s;
	size_t len;

	assert_int_equal(sscanf(line, "%u %u %zu ", ret_who, ret_seq, &len), 3);
	s = make_line(expect, *ret_who, *ret_seq, len);
	assert_int_equal(strlen(line), s.len + 1);
	assert_memory_equal(line, s.data, s.len);
	assert_int_equal(line[s.len], '\n');
}

static int writer_new(const char *path, unsigned int n_queues, size_t queue_bytes,
		      unsigned int delay_ms, struct record_writer **ret)
{
	int r = record_writer_new(path, n_queues, queue_bytes, delay_ms, ret);

	return r < 0 ? r : record_writer_start(*ret);
}

/* ---- a queue ---- */

static void test_wrap_at_every_offset(void **state)
{
	static const size_t sizes[] = { 64, 72, 128, 1000, 1024 };
	char line[LINE_MAX_BYTES + 2];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned int n = 1500, who, seq;
		struct record_writer *w;
		struct place p;
		FILE *f;

		place_init(&p);
		assert_int_equal(writer_new(p.file, 1, sizes[i], 0, &w), 0);
		for (unsigned int k = 0; k < n; k++) {
			size_t len = k * 7 % (sizes[i] / 2 / 8 * 8 - 7); /* half a ring at most */
			struct span s = make_line(line, 0, k, len);

			while (!record_put(record_writer_queue(w, 0), RECORD_JSON, s))
				nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
		}
		record_writer_free(w);
		free(place_said(&p)); /* full queues were refused, and said */
		f = open_lines(p.file);
		for (unsigned int k = 0; k < n; k++) {
			assert_non_null(fgets(line, sizeof(line), f));
			check_line(line, &who, &seq);
			assert_int_equal(seq, k);
		}
		assert_null(fgets(line, sizeof(line), f));
		fclose(f);
		place_done(&p);
	}
}

struct producer {
	pthread_t thread;
	struct record_queue *queue;
	unsigned int who, n, n_lost;
};

static void *produce(void *arg)
{
	struct producer *p = arg;
	char line[LINE_MAX_BYTES];

	for (unsigned int k = 0; k < p->n; k++) {
		size_t len = (k * 37 + p->who * 11) % (k % 100 ? 300 : 1500);

		p->n_lost += !record_put(p->queue, RECORD_JSON, make_line(line, p->who, k, len));
		if (k % 64 == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
	}
	return NULL;
}

static void test_producers_with_losses(void **state)
{
	struct producer producers[4] = { 0 };
	unsigned int next[4] = { 0 }, n_lines = 0, n_lost = 0, who, seq;
	char line[LINE_MAX_BYTES + 2];
	struct record_writer *w;
	struct place p;
	FILE *f;

	(void)state;
	place_init(&p);
	assert_int_equal(writer_new(p.file, 4, 16384, 1, &w), 0);
	assert_true(record_writer_has_json(w));
	for (unsigned int i = 0; i < 4; i++) {
		producers[i].who = i;
		producers[i].n = 20000;
		producers[i].queue = record_writer_queue(w, i);
		pthread_create(&producers[i].thread, NULL, produce, &producers[i]);
	}
	for (unsigned int i = 0; i < 4; i++) {
		pthread_join(producers[i].thread, NULL);
		n_lost += producers[i].n_lost;
	}
	record_writer_free(w);
	assert_int_equal(count_said(place_said(&p)), n_lost);
	f = open_lines(p.file);
	while (fgets(line, sizeof(line), f)) {
		check_line(line, &who, &seq);
		assert_true(who < 4 && seq >= next[who]); /* in order; gaps are losses */
		next[who] = seq + 1;
		n_lines++;
	}
	assert_int_equal(n_lines + n_lost, 4 * 20000);
	assert_true(n_lost > 0);
	fclose(f);
	place_done(&p);
}

/* ---- the two sinks ---- */

static void test_text_goes_to_stderr(void **state)
{
	struct record_writer *w;
	struct place p;
	char *said;

	(void)state;
	place_init(&p);
	assert_int_equal(writer_new(NULL, 1, 4096, 500, &w), 0);
	assert_false(record_writer_has_json(w));
	assert_true(record_put(record_writer_queue(w, 0), RECORD_TEXT, span_str("one")));
	assert_true(record_put(record_writer_queue(w, 0), RECORD_TEXT, span_str("")));
	assert_true(record_put(record_writer_queue(w, 0), RECORD_TEXT, span_str("two")));
	record_writer_free(w); /* what is queued is written, however long it might have waited */
	said = place_said(&p);
	assert_string_equal(said, "one\n\ntwo\n");
	free(said);
	place_done(&p);
}

static void test_file_is_appended_to(void **state)
{
	struct record_writer *w = NULL;
	char line[64];
	struct stat st;
	struct place p;
	FILE *f;

	(void)state;
	place_init(&p);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(writer_new(p.file, 1, 4096, 0, &w), 0);
		assert_true(record_put(record_writer_queue(w, 0), RECORD_JSON, span_str("{}")));
		record_writer_free(w);
	}
	free(place_said(&p));
	assert_int_equal(stat(p.file, &st), 0);
	assert_int_equal(st.st_mode & 0777 & ~0640, 0);
	f = open_lines(p.file);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(line, "{}\n");
	assert_null(fgets(line, sizeof(line), f));
	fclose(f);
	assert_int_equal(record_writer_new("/tmp", 1, 4096, 0, &w), -EISDIR);
	place_done(&p);
}

static void *close_writer(void *writer)
{
	record_writer_free(writer);
	return NULL;
}

/* Several may append to one file or pipe: what others write comes between lines, not into them.
 * A pipe of one page shows where each write ended. */
static void test_writes_whole_lines(void **state)
{
	char line[LINE_MAX_BYTES + 2], got[1 << 16];
	struct record_writer *w;
	pthread_t closer;
	struct place p;
	ssize_t n;
	int fd;

	(void)state;
	place_init(&p);
	assert_int_equal(mkfifo(p.file, 0600), 0);
	fd = open(p.file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fcntl(fd, F_SETPIPE_SZ, 4096) == 4096 && fcntl(fd, F_SETFL, 0) == 0);
	assert_int_equal(record_writer_new(p.file, 1, 1 << 20, 0, &w), 0);
	for (unsigned int k = 0; k < 100; k++)
		assert_true(record_put(record_writer_queue(w, 0), RECORD_JSON,
				       make_line(line, 0, k, 700 + k)));
	assert_int_equal(record_writer_start(w), 0);
	assert_int_equal(pthread_create(&closer, NULL, close_writer, w), 0);
	while ((n = read(fd, got, sizeof(got))) > 0)
		assert_int_equal(got[n - 1], '\n');
	pthread_join(closer, NULL);
	close(fd);
	free(place_said(&p));
	place_done(&p);
}

/* As /var/log/limpid, which a first start by hand does not find; but no more than that one. */
static void test_folder_is_made(void **state)
{
	struct record_writer *w = NULL;
	char folder[96], file[128];
	struct stat st;
	struct place p;

	(void)state;
	place_init(&p);
	snprintf(folder, sizeof(folder), "%s/log", p.folder);
	snprintf(file, sizeof(file), "%s/deeper/flows.json", folder);
	assert_int_equal(record_writer_new(file, 1, 4096, 0, &w), -ENOENT);
	snprintf(file, sizeof(file), "%s/flows.json", folder);
	assert_int_equal(record_writer_new(file, 1, 4096, 0, &w), 0);
	record_writer_free(w);
	free(place_said(&p));
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 0777 & ~0750, 0);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(rmdir(folder), 0);
	place_done(&p);
}

/* ---- what cannot be written ---- */

static void test_disk_is_full(void **state)
{
	struct record_writer *w;
	unsigned int n = 0;
	struct place p;

	(void)state;
	place_init(&p);
	assert_int_equal(writer_new("/dev/full", 1, 1u << 20, 1, &w), 0);
	for (unsigned int k = 0; k < 5000; k++)
		n += record_put(record_writer_queue(w, 0), RECORD_JSON, span_str("{\"a\":1}"));
	assert_int_equal(n, 5000);
	record_writer_free(w);
	assert_int_equal(count_said(place_said(&p)), 5000); /* each line, not each write */
	place_done(&p);
}

static void test_line_too_long(void **state)
{
	static const size_t sizes[] = { 3000, 60000, 65535, 65536, 100000, 600000 };
	static char line[600000];
	struct record_writer *w;
	unsigned int n_lost, n = 0, c;
	struct place p;
	FILE *f;

	(void)state;
	memset(line, 'x', sizeof(line));
	place_init(&p);
	assert_int_equal(writer_new(p.file, 1, 1u << 20, 0, &w), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
		record_put(record_writer_queue(w, 0), RECORD_JSON, span_of(line, sizes[i]));
	record_writer_free(w);
	n_lost = (unsigned int)count_said(place_said(&p)); /* at once, or when it is written */
	f = open_lines(p.file);
	while ((c = (unsigned int)fgetc(f)) != (unsigned int)EOF)
		n += c == '\n';
	fclose(f);
	assert_int_equal(n + n_lost, ARRAY_SIZE(sizes)); /* none vanishes without a word */
	assert_true(n >= 2);
	place_done(&p);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Nobody reads: the writer's thread stands still, the workers do not. */
static void test_never_waits_for_the_disk(void **state)
{
	char line[LINE_MAX_BYTES + 2];
	unsigned int n = 0, seq = 0, last = 0, who, n_read = 0;
	struct record_writer *w;
	uint64_t start_us;
	struct place p;
	int fd, failures = 0;
	FILE *f;

	(void)state;
	place_init(&p);
	assert_int_equal(mkfifo(p.file, 0600), 0);
	fd = open(p.file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(writer_new(p.file, 1, 65536, 0, &w), 0);
	start_us = now_us();
	for (unsigned int k = 0; k < 20000; k++) {
		if (record_put(record_writer_queue(w, 0), RECORD_JSON, make_line(line, 0, k, 100)))
			n++;
		else
			failures++;
	}
	assert_true(now_us() - start_us < 2000000);
	assert_true(failures > 1000 && n > 500);
	fcntl(fd, F_SETFL, 0);
	f = fdopen(fd, "r");
	for (; n_read < n && fgets(line, sizeof(line), f); n_read++) { /* now somebody does */
		check_line(line, &who, &seq);
		assert_true(!n_read || seq > last);
		last = seq;
	}
	assert_int_equal(n_read, n);
	record_writer_free(w);
	fclose(f);
	assert_int_equal(count_said(place_said(&p)), failures);
	place_done(&p);
}

/* Who has nothing else to do waits for the writer's thread: nothing is lost for want of room. */
static void test_waits_at_the_end(void **state)
{
	char line[LINE_MAX_BYTES + 2];
	struct record_writer *w;
	struct place p;

	(void)state;
	place_init(&p);
	assert_int_equal(writer_new(p.file, 1, 4096, 100, &w), 0);
	record_queue_may_wait(record_writer_queue(w, 0));
	for (unsigned int k = 0; k < 5000; k++)
		assert_true(record_put(record_writer_queue(w, 0), RECORD_JSON,
				       make_line(line, 0, k, 100)));
	record_writer_free(w);
	assert_int_equal(count_said(place_said(&p)), 0);
	place_done(&p);
}

/* Voluntary context switches of all threads of this process but this one. */
static unsigned long count_switches(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned long sum = 0, n;
	struct dirent *e;
	char text[512];

	assert_non_null(d);
	while ((e = readdir(d))) {
		FILE *f;

		snprintf(text, sizeof(text), "/proc/self/task/%s/status", e->d_name);
		if (e->d_name[0] == '.' || atoi(e->d_name) == getpid())
			continue;
		f = fopen(text, "re");
		while (f && fgets(text, sizeof(text), f))
			if (sscanf(text, "voluntary_ctxt_switches: %lu", &n) == 1)
				sum += n;
		if (f)
			fclose(f);
	}
	closedir(d);
	return sum;
}

/* ThreadSanitizer has one of its own, which wakes. */
static bool has_other_threads(void)
{
#if defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
	return __has_feature(thread_sanitizer);
#else
	return false;
#endif
}

static void test_idle_sleeps(void **state)
{
	struct record_writer *w;
	unsigned long before;
	struct place p;

	(void)state;
	place_init(&p);
	assert_int_equal(writer_new(p.file, 2, 4096, 1, &w), 0);
	record_put(record_writer_queue(w, 1), RECORD_JSON, span_str("x"));
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	before = count_switches();
	nanosleep(&(struct timespec){ .tv_nsec = 400000000 }, NULL);
	if (!has_other_threads())
		assert_int_equal(count_switches(), before);
	record_writer_free(w);
	free(place_said(&p));
	place_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrap_at_every_offset),
		cmocka_unit_test(test_producers_with_losses),
		cmocka_unit_test(test_text_goes_to_stderr),
		cmocka_unit_test(test_file_is_appended_to),
		cmocka_unit_test(test_writes_whole_lines),
		cmocka_unit_test(test_folder_is_made),
		cmocka_unit_test(test_disk_is_full),
		cmocka_unit_test(test_line_too_long),
		cmocka_unit_test(test_never_waits_for_the_disk),
		cmocka_unit_test(test_waits_at_the_end),
		cmocka_unit_test(test_idle_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
