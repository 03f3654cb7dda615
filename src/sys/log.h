/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_LOG_H
#define SYS_LOG_H

#include <stddef.h>

enum log_level {
	LOG_ERROR,
	LOG_WARNING,
	LOG_INFO,
	LOG_DEBUG,
};

/**
 * struct log - where lines go instead of stderr, and which
 * @write:	gets whole lines without their newline, from any thread; NULL: they are not wanted
 * @user:	passed to @write
 */
struct log {
	enum log_level level;
	void (*write)(void *user, enum log_level level, const char *line);
	void *user;
};

/*
 * Lines for people: `2026-11-20 23:43:01 | WARN | text`, to stderr unless this thread uses a
 * log of its own.
 * Callable from any thread; one line is one write(2).  Strings that came from outside must be
 * escaped by the caller (text_escape()).
 */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* From now on this thread's lines and its level are those of @log; NULL: the process's.
 * Return: what was used until now. */
const struct log *log_use(const struct log *log);

/* What this thread uses: whoever makes a thread passes it on.  May be NULL. */
const struct log *log_used(void);

/* The beginning of such a line, for those who write the rest themselves.  @cap_bytes >= 40.
 * Return: bytes written, without the NUL. */
size_t log_prefix(enum log_level level, char *dst, size_t cap_bytes);

const char *log_level_name(enum log_level level); /* "error", "warning", "info", "debug" */

#endif
