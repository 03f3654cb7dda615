/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A profile has a context for each worker.  Whoever pushes a layer is the
 * worker itself, so its context needs no lock: it looks whether the files are still what they
 * were, makes a new context if they are not, and lets go of the old one, which lives on for as
 * long as connections use it.  Certificate and key are two files, and for a moment they may not
 * belong together: then the old ones are used until the other has changed, too.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "core/flow.h"
#include "core/worker.h"
#include "stream/tls.h"
#include "stream/tls_profile.h"
#include "sys/log.h"

#define CHECK_EVERY_MS 1000
#define FILES 3

/* What tells one content of a file from another without reading it. */
struct stamp {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec changed, modified;
};

/**
 * struct slot - one worker's
 * @stamps:	of the files that were read last, good or not
 * @check_ms:	look again from then on
 * @n_asked:	or when it has been asked for more often than this
 */
struct slot {
	struct tls_context *context;
	struct stamp stamps[FILES];
	uint64_t check_ms;
	unsigned int n_asked;
};

struct tls_profile {
	struct tls_settings settings;
	char *name, *files[FILES], *peer;
	uint8_t *alpn;
	struct slot *slots;
	unsigned int n_slots;
	_Atomic unsigned int n_asked;
};

static void stamps_take(const struct tls_profile *p, struct stamp stamps[FILES])
{
	struct stat st;

	memset(stamps, 0, FILES * sizeof(*stamps));
	for (unsigned int i = 0; i < FILES; i++)
		if (p->files[i] && stat(p->files[i], &st) == 0) {
			stamps[i].device = st.st_dev;
			stamps[i].inode = st.st_ino;
			stamps[i].size = st.st_size;
			stamps[i].changed = st.st_ctim;
			stamps[i].modified = st.st_mtim;
		}
}

static bool slot_is_current(const struct tls_profile *p, const struct slot *slot,
			    struct stamp now[FILES])
{
	stamps_take(p, now);
	return !memcmp(now, slot->stamps, sizeof(slot->stamps));
}

static int slot_load(struct tls_profile *p, struct slot *slot, struct tls_fault *ret_fault)
{
	stamps_take(p, slot->stamps); /* before they are read: a change meanwhile is seen later */
	return tls_context_new(&p->settings, &slot->context, ret_fault);
}

static void reload(struct tls_profile *p, struct slot *slot, unsigned int worker)
{
	struct tls_context *old = slot->context;
	struct tls_fault fault = { .text = "no memory" };
	struct stamp now[FILES];

	if (slot_is_current(p, slot, now))
		return;
	if (slot_load(p, slot, &fault) < 0) {
		log_line(LOG_WARNING, "tls '%s': the file of the %s %s; the old one is used on",
			 p->name, fault.file == TLS_FILE_KEY ? "key" : "certificate", fault.text);
		slot->context = old;
		return;
	}
	tls_context_unref(old);
	log_line(worker ? LOG_DEBUG : LOG_INFO, "tls '%s': files read again", p->name);
}

/* A copy of @text in @ret.  True: also NULL of NULL. */
static bool copied(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return !text || *ret;
}

static int settings_copy(struct tls_profile *p, const struct tls_settings *s)
{
	struct tls_settings *own = &p->settings;

	*own = *s;
	if (!copied(s->certificate, &p->files[0]) || !copied(s->key, &p->files[1]) ||
	    !copied(s->ca, &p->files[2]) || !copied(s->name, &p->peer))
		return -ENOMEM;
	own->certificate = p->files[0];
	own->key = p->files[1];
	own->ca = p->files[2];
	own->name = p->peer;
	if (s->alpn.len) {
		p->alpn = malloc(s->alpn.len);
		if (!p->alpn)
			return -ENOMEM;
		memcpy(p->alpn, s->alpn.data, s->alpn.len);
		own->alpn = span_of(p->alpn, s->alpn.len);
	}
	return getrandom(own->ticket_keys, sizeof(own->ticket_keys), 0) < 0 ? -ENOMEM : 0;
}

int tls_profile_new(const struct tls_settings *s, const char *name, struct tls_profile **ret,
		    struct tls_fault *ret_fault)
{
	struct tls_profile *p = NEW0(struct tls_profile);
	int r = -ENOMEM;

	if (!p)
		return -ENOMEM;
	p->slots = NEW0(struct slot);
	if (p->slots && copied(name, &p->name))
		r = settings_copy(p, s);
	if (!r) {
		p->n_slots = 1;
		r = slot_load(p, &p->slots[0], ret_fault);
	}
	if (r < 0)
		tls_profile_free(p);
	else
		*ret = p;
	return r;
}

int tls_profile_share(struct tls_profile *p, unsigned int n_workers, struct tls_fault *ret_fault)
{
	struct slot *slots = reallocarray(p->slots, n_workers, sizeof(*slots));
	int r = 0;

	if (!slots)
		return -ENOMEM;
	p->slots = slots;
	while (p->n_slots < n_workers && !r) {
		slots[p->n_slots] = (struct slot){ 0 };
		r = slot_load(p, &slots[p->n_slots], ret_fault);
		if (!r)
			p->n_slots++;
	}
	return r;
}

void tls_profile_look_again(struct tls_profile *p)
{
	atomic_fetch_add(&p->n_asked, 1);
}

void tls_profile_free(struct tls_profile *p)
{
	if (!p)
		return;
	for (unsigned int i = 0; i < p->n_slots; i++)
		tls_context_unref(p->slots[i].context);
	for (unsigned int i = 0; i < FILES; i++)
		free(p->files[i]);
	free(p->name);
	free(p->peer);
	free(p->alpn);
	free(p->slots);
	explicit_bzero(p->settings.ticket_keys, sizeof(p->settings.ticket_keys));
	free(p);
}

static int layer_push(struct end *e, const void *conf)
{
	struct tls_profile *p = (struct tls_profile *)(uintptr_t)conf;
	struct worker *w = e->flow->worker;
	struct slot *slot = &p->slots[w->index];
	uint64_t now_ms = loop_now_ms(&w->loop);
	unsigned int n_asked = atomic_load_explicit(&p->n_asked, memory_order_relaxed);

	if (now_ms >= slot->check_ms || slot->n_asked != n_asked) {
		slot->n_asked = n_asked;
		slot->check_ms = now_ms + CHECK_EVERY_MS;
		reload(p, slot, w->index);
	}
	return tls_push(e, slot->context);
}

const struct layer_ops tls_layer_ops = {
	.name = "tls",
	.push = layer_push,
	.open = tls_open,
};
