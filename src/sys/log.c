/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/log.h"

#define LINE_MAX_BYTES 1024
#define STUCK_MS 200

/* The log sink is the one mutable global: the process's level, and what a thread uses instead. */
static _Atomic enum log_level threshold = LOG_INFO;
static _Thread_local const struct log *own;

static const char *const names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARNING] = "warning",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};
static const char *const tags[] = {
	[LOG_ERROR] = "ERROR",
	[LOG_WARNING] = "WARN",
	[LOG_INFO] = "INFO",
	[LOG_DEBUG] = "DEBUG",
};
static_assert(ARRAY_SIZE(names) == ARRAY_SIZE(tags), "a tag for each level");

const char *log_level_name(enum log_level level)
{
	return names[level];
}

void log_set_level(enum log_level level)
{
	atomic_store(&threshold, level);
}

const struct log *log_use(const struct log *log)
{
	const struct log *was = own;

	own = log;
	return was;
}

const struct log *log_used(void)
{
	return own;
}

enum log_level log_get_level(void)
{
	if (own)
		return own->level;
	return atomic_load_explicit(&threshold, memory_order_relaxed);
}

size_t log_prefix(enum log_level level, char *dst, size_t cap_bytes)
{
	time_t now = time(NULL);
	struct tm tm;
	size_t n;

	localtime_r(&now, &tm);
	n = strftime(dst, cap_bytes, "%Y-%m-%d %H:%M:%S | ", &tm);
	n += (size_t)snprintf(dst + n, cap_bytes - n, "%s | ", tags[level]);
	return n;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };
	char line[LINE_MAX_BYTES];
	size_t n;
	va_list ap;
	int r;

	if (level > log_get_level())
		return;
	n = log_prefix(level, line, sizeof(line));
	va_start(ap, fmt);
	r = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (r > 0)
		n += (size_t)r < sizeof(line) - n - 1 ? (size_t)r : sizeof(line) - n - 2;
	if (own) {
		line[n] = '\0';
		if (own->write)
			own->write(own->user, level, line);
		return;
	}
	line[n++] = '\n';
	if (poll(&out, 1, STUCK_MS) > 0) /* nobody waits for ever for a reader of our lines */
		(void)!write(STDERR_FILENO, line, n);
}
