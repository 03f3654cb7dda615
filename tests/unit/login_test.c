/* SPDX-License-Identifier: Apache-2.0 */
/* Users and their passwords: files good and bad, and a learner that waits for the answer. */
#include <sys/stat.h>

#include "base/password.h"
#include "core/users.h"
#include "flow_fixture.h"

static char path[] = "/tmp/limpid-users-XXXXXX";
static char hash[PASSWORD_HASH_CAP];

static void file_write(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_passwords(void **state)
{
	static const char sha256[] =
		"$5$cfxi9e1mVJi0JwRp$xll7MGBjSaWG9vsg7GpmLGjD5owZjlSb6dx0LZj7mAC";
	char other[PASSWORD_HASH_CAP], nul[] = { 'a', 0, 'b' };

	(void)state;
	assert_int_equal(password_hash(span_str("secret"), hash), 0);
	assert_int_equal(password_hash(span_str("secret"), other), 0);
	assert_string_not_equal(hash, other); /* salted */
	assert_true(password_hash_ok(hash));
	assert_true(password_matches(hash, span_str("secret")));
	assert_false(password_matches(hash, span_str("Secret")));
	assert_false(password_matches(hash, span_str("")));
	assert_false(password_matches(hash, span_of(nul, sizeof(nul))));
	assert_int_equal(password_hash(span_of(nul, sizeof(nul)), other), -EINVAL);
	assert_true(password_hash_ok("$2b$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"));
	/* of openssl passwd -5, as mkpasswd -m sha-256 makes it, too */
	assert_true(password_hash_ok(sha256));
	assert_true(password_matches(sha256, span_str("pw")));
	assert_false(password_hash_ok("$1$abcdefgh$0123456789012345678901"));
	assert_false(password_hash_ok("plain"));
	assert_false(password_hash_ok(""));
}

static void test_files(void **state)
{
	static const struct {
		const char *text;
		int error;
		unsigned int line;
	} cases[] = {
		{ "", 0, 0 },
		{ "# nobody\n\n", 0, 0 },
		{ "ann:%s\nbob:%s:rest\n", 0, 0 },
		{ "ann:%s\r\n", 0, 0 },
		{ "ann:%s", 0, 0 },
		{ "ann\n", -EINVAL, 1 },
		{ "# x\nann:plain\n", -EINVAL, 2 },
		{ ":%s\n", -EINVAL, 1 },
		{ "a b:%s\n", -EINVAL, 1 },
		{ "ann:%s\nann:%s\n", -EEXIST, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct users *u = NULL;
		unsigned int line = 0;
		char text[2 * PASSWORD_HASH_CAP + 64];

		snprintf(text, sizeof(text), cases[i].text, hash, hash);
		file_write(text);
		assert_int_equal(users_load("x", path, &u, &line), cases[i].error);
		if (cases[i].error)
			assert_int_equal(line, cases[i].line);
		else
			assert_string_equal(users_name(u), "x");
		users_free(u);
	}
}

/* ---- a learner that reads "name password\n" ---- */

static struct users *list;

static enum learn_result ask_learn(struct flow *f, const struct learner *l, struct span look,
				   bool last)
{
	const uint8_t *space = look.len ? memchr(look.data, ' ', look.len) : NULL;
	const uint8_t *end = look.len ? memchr(look.data, '\n', look.len) : NULL;

	(void)last;
	if (!space || !end)
		return LEARN_MORE;
	flow_greeted(f, l);
	switch (login_check(f, list, span_of(look.data, (size_t)(space - look.data)),
			    span_of(space + 1, (size_t)(end - space - 1)))) {
	case LOGIN_YES:
		flow_consume(f, (size_t)(end - look.data) + 1);
		return LEARN_DONE;
	case LOGIN_NO:
		flow_reply(f, span_str("no"));
		flow_farewell(f, WHY_REJECTED);
		return LEARN_FAILED;
	case LOGIN_LATER:
		return LEARN_MORE;
	}
	return LEARN_FAILED;
}

static const struct learner_ops ask_ops = { .name = "ask", .consumes = true, .learn = ask_learn };

static void rig_users(struct rig *r, struct login *login)
{
	rig_init(r);
	r->listener.learners[r->listener.n_learners++] = (struct learner){ .ops = &ask_ops };
	r->realm.login = login;
	rig_start(r);
}

static void test_answers(void **state)
{
	struct login *login;
	struct rig r;
	unsigned int line;
	char text[PASSWORD_HASH_CAP + 64];
	int c, s;

	(void)state;
	snprintf(text, sizeof(text), "ann:%s\n", hash);
	file_write(text);
	assert_int_equal(users_load("x", path, &list, &line), 0);
	assert_int_equal(login_new(&login), 0);
	rig_users(&r, login);
	for (int i = 0; i < 3; i++) { /* the second time it is remembered */
		c = dial(&r.listener.address);
		say(c, "ann secret\ndata");
		s = take_connection(r.server_fd);
		hear(s, "data");
		shutdown(c, SHUT_WR);
		hear_fin(s);
		close(s);
		hear_fin(c);
		close(c);
		rig_expect(&r, (unsigned int)i + 1, WHY_FINISHED);
	}
	for (int i = 0; i < 3; i++) {
		c = dial(&r.listener.address);
		say(c, i == 0 ? "ann wrong\n" : i == 1 ? "bob secret\n" : "ann \n");
		hear(c, "no");
		hear_fin(c);
		close(c);
		rig_expect(&r, (unsigned int)i + 4, WHY_REJECTED);
	}
	for (int i = 0; i < 8; i++) { /* gone before the answer, most of them */
		c = dial(&r.listener.address);
		say(c, "ann wrong\n");
		hang_up_with_reset(c);
	}
	rig_wait_ended(&r, 14);
	rig_stop(&r);
	login_free(login);
	users_free(list);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passwords),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_answers),
	};

	close(mkstemp(path));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
