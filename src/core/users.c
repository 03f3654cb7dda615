/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A file is re-read when it has changed, by the thread that is about to
 * check a password against it; what cannot be read or parsed then leaves the list as it was.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/password.h"
#include "core/users.h"
#include "core/users_list.h"
#include "sys/log.h"

#define FILE_MAX_BYTES ((size_t)16 << 20)

struct entry {
	char *name, *hash;
};

struct list_of_users {
	struct entry *entries; /* sorted by name */
	size_t n;
};

/* What says that a file is another one now: in one tick of the clock it may be cut and written. */
struct stamp {
	struct timespec changed;
	ino_t inode;
	off_t bytes;
};

struct users {
	char *name, *path;
	pthread_mutex_t lock; /* for what is below, once there are threads */
	struct list_of_users list;
	struct stamp stamp;
};

static void list_free(struct list_of_users *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->entries[i].name);
		free(l->entries[i].hash);
	}
	free(l->entries);
	*l = (struct list_of_users){ 0 };
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static bool name_ok(const char *name, size_t len)
{
	if (!len || len > USER_NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
			return false;
	return true;
}

/* @line without its end.  Return: 0, -EINVAL, -ENOMEM. */
static int line_parse(char *line, struct list_of_users *l)
{
	char *colon = strchr(line, ':'), *end;
	struct entry *entries;

	if (!colon || !name_ok(line, (size_t)(colon - line)))
		return -EINVAL;
	*colon++ = '\0';
	end = strchr(colon, ':');
	if (end)
		*end = '\0';
	if (!password_hash_ok(colon))
		return -EINVAL;
	entries = reallocarray(l->entries, l->n + 1, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	l->entries = entries;
	entries[l->n] = (struct entry){ .name = strdup(line), .hash = strdup(colon) };
	l->n++;
	return entries[l->n - 1].name && entries[l->n - 1].hash ? 0 : -ENOMEM;
}

static int list_read(FILE *f, struct list_of_users *l, unsigned int *ret_line)
{
	_cleanup_free_ char *line = NULL;
	size_t cap = 0, total = 0;
	ssize_t n;
	int r = 0;

	for (*ret_line = 1; !r && (n = getline(&line, &cap, f)) >= 0; ++*ret_line) {
		total += (size_t)n;
		if (total > FILE_MAX_BYTES) {
			*ret_line = 0;
			return -EINVAL;
		}
		if (strlen(line) != (size_t)n)
			return -EINVAL;
		line[strcspn(line, "\r\n")] = '\0';
		if (*line && *line != '#')
			r = line_parse(line, l);
		if (r < 0)
			return r;
	}
	if (ferror(f))
		return -EIO;
	if (l->n)
		qsort(l->entries, l->n, sizeof(*l->entries), by_name);
	for (size_t i = 1; i < l->n; i++)
		if (!by_name(&l->entries[i - 1], &l->entries[i])) {
			*ret_line = 0;
			return -EEXIST;
		}
	return 0;
}

static struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){ .changed = st->st_mtim, .inode = st->st_ino, .bytes = st->st_size };
}

/* @ret_stamp is left alone where the file cannot be opened. */
static int file_load(const char *path, struct list_of_users *ret, struct stamp *ret_stamp,
		     unsigned int *ret_line)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	struct stat st;
	int r;

	*ret_line = 0;
	if (!f || fstat(fileno(f), &st) < 0)
		return -errno;
	*ret_stamp = stamp_of(&st);
	r = list_read(f, ret, ret_line);
	if (r < 0)
		list_free(ret);
	return r;
}

int users_load(const char *name, const char *path, struct users **ret, unsigned int *ret_line)
{
	struct users *u = NEW0(struct users);
	int r;

	*ret_line = 0;
	if (!u)
		return -ENOMEM;
	pthread_mutex_init(&u->lock, NULL);
	u->name = strdup(name);
	u->path = strdup(path);
	r = u->name && u->path ? file_load(path, &u->list, &u->stamp, ret_line) : -ENOMEM;
	if (r < 0) {
		users_free(u);
		return r;
	}
	*ret = u;
	return 0;
}

const char *users_error(int error, unsigned int line, char *text, size_t cap)
{
	if (error == -EEXIST)
		return "a name stands there twice";
	if (error == -EINVAL && !line)
		return "the file is too large";
	if (error == -EINVAL)
		snprintf(text, cap, "line %u is not that of a user", line);
	else
		snprintf(text, cap, "cannot be read: %s", strerror(-error));
	return text;
}

void users_free(struct users *u)
{
	if (!u)
		return;
	list_free(&u->list);
	pthread_mutex_destroy(&u->lock);
	free(u->name);
	free(u->path);
	free(u);
}

const char *users_name(const struct users *u)
{
	return u->name;
}

/* Return: whether the file is another than was read; one that is not there is not. */
static bool is_changed(struct users *u, struct stamp *ret)
{
	struct stat st;
	bool r;

	if (stat(u->path, &st) < 0)
		return false;
	*ret = stamp_of(&st);
	pthread_mutex_lock(&u->lock);
	r = ret->inode != u->stamp.inode || ret->bytes != u->stamp.bytes ||
	    ret->changed.tv_sec != u->stamp.changed.tv_sec ||
	    ret->changed.tv_nsec != u->stamp.changed.tv_nsec;
	pthread_mutex_unlock(&u->lock);
	return r;
}

bool users_changed(struct users *u)
{
	struct stamp stamp;

	return is_changed(u, &stamp);
}

bool users_refresh(struct users *u)
{
	struct list_of_users fresh = { 0 };
	struct stamp stamp;
	char text[64];
	unsigned int line;
	int r;

	if (!is_changed(u, &stamp))
		return false;
	r = file_load(u->path, &fresh, &stamp, &line);
	pthread_mutex_lock(&u->lock);
	u->stamp = stamp; /* good or not, it is said once */
	if (r >= 0) {
		list_free(&u->list);
		u->list = fresh;
	}
	pthread_mutex_unlock(&u->lock);
	if (r < 0)
		log_line(LOG_WARNING, "users '%s': '%s': %s; the list stays as it was", u->name,
			 u->path, users_error(r, line, text, sizeof(text)));
	return r >= 0;
}

int users_hash(struct users *u, const char *name, char **ret)
{
	struct entry key = { .name = (char *)name }, *e;
	const char *hash;

	pthread_mutex_lock(&u->lock);
	e = u->list.n ? bsearch(&key, u->list.entries, u->list.n, sizeof(key), by_name) : NULL;
	hash = e ? e->hash : u->list.n ? u->list.entries[0].hash : NULL;
	*ret = hash ? strdup(hash) : NULL;
	pthread_mutex_unlock(&u->lock);
	return e && *ret ? 0 : -ENOENT;
}
