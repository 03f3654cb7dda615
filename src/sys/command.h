/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_COMMAND_H
#define SYS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A program at work; it runs beside the caller until command_end(). */
struct command {
	pid_t pid;
	int output_fd, complaint_fd;
};

/* Is there a program of this name, where command_begin() looks? */
bool command_exists(const char *name);

/**
 * command_begin() - start a program in the namespaces of this process
 * @line:	its name and arguments, separated by single blanks; nothing is quoted or expanded
 * @input:	its standard input, NUL-terminated; NULL: empty
 *
 * The program is looked up in PATH, then in /usr/sbin, /sbin and /usr/local/sbin.
 *
 * Return: 0, -ENOENT if there is no such program, or another -errno.
 */
int command_begin(struct command *c, const char *line, const char *input);

/**
 * command_end() - wait until it has ended
 * @complaint:	the first line of what it said, escaped; "" on success
 * @cap_bytes:	room in @complaint, >= 8
 *
 * Return: 0, -EPROTO if it failed, or another -errno.
 */
int command_end(struct command *c, char *complaint, size_t cap_bytes);

/**
 * command_read() - run a program to its end and keep its standard output
 * @limit_bytes: more than this is an error
 * @ret:	NUL-terminated, to be freed; set on success only
 *
 * Return: as command_begin() and command_end(), or -EMSGSIZE.
 */
int command_read(const char *line, size_t limit_bytes, char **ret, char *complaint,
		 size_t cap_bytes);

/* Is there a program of that name where command_begin() would look? */
bool command_exists(const char *name);

#endif
