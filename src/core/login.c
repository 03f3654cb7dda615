/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A learner that wants a password checked leaves a request in a bounded
 * queue; one thread takes them in turn, and puts each, answered, on the list of the flow's worker,
 * which it wakes.  A request belongs to the queue, then to the thread, then to that list, then to
 * the flow, which frees it; a flow that ends before that lets go of it (request->flow NULL), and
 * whoever has it next frees it.  One lock guards all this: it is held for a few instructions at a
 * time, and taken only by flows that log in.
 *
 * What was right is remembered as a digest under a key that this process made up, for a while: a
 * browser sends its password with every connection.  What was wrong is not remembered, so
 * guessing costs what it should.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crypto.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/password.h"
#include "core/flow.h"
#include "core/users.h"
#include "core/users_list.h"
#include "core/worker.h"

#define WAITING_MAX 256
#define REMEMBERED 1024 /* a power of two */
#define REMEMBER_MS 60000

/**
 * struct login_request - one password to be checked
 * @link:	in login->waiting, then in worker->logins
 * @flow:	NULL: it has ended
 */
struct login_request {
	struct list link;
	struct login *login;
	struct flow *flow;
	struct worker *worker;
	struct users *users;
	char name[USER_NAME_MAX_BYTES + 1];
	uint8_t password[PASSWORD_MAX_BYTES];
	size_t password_bytes;
	uint8_t digest[CRYPTO_SHA256_BYTES];
	bool done, right;
};

struct remembered {
	uint8_t digest[CRYPTO_SHA256_BYTES];
	uint64_t until_ms;
};

struct login {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	struct list waiting;
	unsigned int n_waiting;
	bool stop;
	uint8_t key[CRYPTO_SHA256_BYTES];
	struct remembered remembered[REMEMBERED];
};

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static struct remembered *slot(struct login *l, const uint8_t *digest)
{
	return &l->remembered[(digest[0] | (size_t)digest[1] << 8) & (REMEMBERED - 1)];
}

static void request_free(struct login_request *r)
{
	explicit_bzero(r->password, sizeof(r->password));
	free(r);
}

/* The slow part, without the lock. */
static bool request_check(struct login_request *r, bool *ret_changed)
{
	char *hash;
	bool known, right;

	*ret_changed = users_refresh(r->users);
	known = users_hash(r->users, r->name, &hash) == 0;
	right = hash && password_matches(hash, span_of(r->password, r->password_bytes));
	free(hash);
	return known && right;
}

static void *login_main(void *arg)
{
	struct login *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->stop) {
		struct login_request *r;
		bool right, changed;

		if (list_empty(&l->waiting)) {
			pthread_cond_wait(&l->more, &l->lock);
			continue;
		}
		r = list_entry(l->waiting.next, struct login_request, link);
		list_del(&r->link);
		l->n_waiting--;
		pthread_mutex_unlock(&l->lock);
		right = request_check(r, &changed);
		pthread_mutex_lock(&l->lock);
		if (changed)
			memset(l->remembered, 0, sizeof(l->remembered));
		if (right) {
			memcpy(slot(l, r->digest)->digest, r->digest, sizeof(r->digest));
			slot(l, r->digest)->until_ms = clock_ms() + REMEMBER_MS;
		}
		r->right = right;
		r->done = true;
		if (!r->flow) {
			request_free(r);
			continue;
		}
		list_add_tail(&r->worker->logins, &r->link);
		loop_wake(&r->worker->loop);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

int login_new(struct login **ret)
{
	struct login *l = NEW0(struct login);
	sigset_t all, before;
	int r;

	if (!l)
		return -ENOMEM;
	arc4random_buf(l->key, sizeof(l->key));
	list_init(&l->waiting);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->more, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&l->thread, NULL, login_main, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0) {
		pthread_cond_destroy(&l->more);
		pthread_mutex_destroy(&l->lock);
		free(l);
		return r;
	}
	*ret = l;
	return 0;
}

void login_free(struct login *l)
{
	struct list *i, *tmp;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->more);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	list_for_each(i, tmp, &l->waiting)
		request_free(list_entry(i, struct login_request, link));
	pthread_cond_destroy(&l->more);
	pthread_mutex_destroy(&l->lock);
	explicit_bzero(l, sizeof(*l));
	free(l);
}

/* What was asked before.  Return: it is known to be right. */
static bool is_remembered(struct login *l, const uint8_t *digest)
{
	struct remembered *s = slot(l, digest);
	bool r;

	pthread_mutex_lock(&l->lock);
	r = s->until_ms > clock_ms() && !memcmp(s->digest, digest, sizeof(s->digest));
	pthread_mutex_unlock(&l->lock);
	return r;
}

static struct login_request *request_new(struct flow *f, struct users *u, struct span name,
					 struct span password, const uint8_t *digest)
{
	struct login_request *r = NEW0(struct login_request);

	if (!r)
		return NULL;
	r->login = f->worker->realm->login;
	r->flow = f;
	r->worker = f->worker;
	r->users = u;
	memcpy(r->name, name.data, name.len);
	if (password.len)
		memcpy(r->password, password.data, password.len);
	r->password_bytes = password.len;
	memcpy(r->digest, digest, sizeof(r->digest));
	list_init(&r->link);
	return r;
}

static enum login_answer request_put(struct login *l, struct login_request *r)
{
	enum login_answer answer = LOGIN_LATER;

	pthread_mutex_lock(&l->lock);
	if (l->n_waiting < WAITING_MAX) {
		list_add_tail(&l->waiting, &r->link);
		l->n_waiting++;
		pthread_cond_signal(&l->more);
	} else {
		answer = LOGIN_NO;
	}
	pthread_mutex_unlock(&l->lock);
	return answer;
}

enum login_answer login_check(struct flow *f, struct users *u, struct span name,
			      struct span password)
{
	struct login *l = f->worker->realm->login;
	struct span pieces[] = { span_of(&u, sizeof(u)), span_of(&name.len, sizeof(name.len)), name,
				 password };
	uint8_t digest[CRYPTO_SHA256_BYTES];
	struct login_request *r = f->login;
	enum login_answer answer;

	if (r && !r->done)
		return LOGIN_LATER;
	if (r) {
		answer = r->right ? LOGIN_YES : LOGIN_NO;
		f->login = NULL;
		request_free(r);
		return answer;
	}
	if (!name.len || name.len > USER_NAME_MAX_BYTES || password.len > PASSWORD_MAX_BYTES ||
	    memchr(name.data, 0, name.len) ||
	    crypto_hmac(l->key, pieces, ARRAY_SIZE(pieces), digest) < 0)
		return LOGIN_NO;
	if (is_remembered(l, digest) && !users_changed(u))
		return LOGIN_YES;
	r = request_new(f, u, name, password, digest);
	if (!r)
		return LOGIN_NO;
	answer = request_put(l, r);
	if (answer == LOGIN_LATER)
		f->login = r;
	else
		request_free(r);
	return answer;
}

void login_forget(struct flow *f)
{
	struct login_request *r = f->login;
	bool ours;

	if (!r)
		return;
	f->login = NULL;
	pthread_mutex_lock(&r->login->lock);
	r->flow = NULL;
	ours = r->done;
	if (ours)
		list_del(&r->link);
	pthread_mutex_unlock(&r->login->lock);
	if (ours)
		request_free(r);
}

void login_deliver(struct worker *w)
{
	struct login *l = w->realm->login;

	if (!l)
		return;
	for (;;) {
		struct login_request *r = NULL;

		pthread_mutex_lock(&l->lock);
		if (!list_empty(&w->logins)) {
			r = list_entry(w->logins.next, struct login_request, link);
			list_del(&r->link);
		}
		pthread_mutex_unlock(&l->lock);
		if (!r)
			return;
		flow_learn_again(r->flow);
	}
}
