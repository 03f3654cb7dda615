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

/*
 * Lines for people: `2026-11-20 23:43:01 | WARN | text`, to stderr.
 * Callable from any thread; one line is one write(2).  Strings that came from outside must be
 * escaped by the caller (text_escape()).
 */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The beginning of such a line, for those who write the rest themselves.  @cap_bytes >= 40.
 * Return: bytes written, without the NUL. */
size_t log_prefix(enum log_level level, char *dst, size_t cap_bytes);

const char *log_level_name(enum log_level level); /* "error", "warning", "info", "debug" */

#endif
