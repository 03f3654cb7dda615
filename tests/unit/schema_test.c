/* SPDX-License-Identifier: Apache-2.0 */
/* The table of keys against what stands elsewhere: defaults, names, the manual page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/config.h"
#include "engine/schema.h"

static void test_defaults(void **state)
{
	struct config *c = config_new();

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->n_listeners, 0);
	assert_int_equal(c->policy->n_rules, 0);
	assert_int_equal(c->timeouts.sniff_ms, 5000);
	assert_int_equal(c->timeouts.connect_ms, 10000);
	assert_int_equal(c->timeouts.idle_ms, 600000);
	assert_int_equal(c->timeouts.half_closed_ms, 60000);
	assert_int_equal(c->timeouts.deny_ms, 30000);
	assert_int_equal(c->timeouts.drain_ms, 10000);
	assert_int_equal(c->limits.flows, 0);
	assert_int_equal(c->limits.threads, 0);
	assert_int_equal(c->limits.look_ahead_bytes, 64 << 10);
	assert_int_equal(c->limits.look_ahead_total_bytes, 64 << 20);
	assert_int_equal(c->limits.record_queue_bytes, 1 << 20);
	assert_int_equal(c->mark, 0x6c70);
	assert_int_equal(c->log, LOG_INFO);
	assert_null(c->record_flows);
	config_free(c);
	config_free(NULL);
}

/* The words of the table are those that the rest of the program prints. */
static void test_words(void **state)
{
	(void)state;
	for (const struct schema_key *k = schema_keys; k->path; k++)
		for (const struct schema_word *w = k->words; w && w->word; w++) {
			const char *name = NULL;

			if (!strcmp(k->path, "listeners.mode"))
				name = listener_mode_name((enum listener_mode)w->value);
			else if (!strcmp(k->path, "rules.action"))
				name = verdict_name((enum verdict)w->value);
			else if (!strcmp(k->path, "rules.source"))
				name = source_name((enum source)w->value);
			else if (!strcmp(k->path, "rules.offload"))
				name = offload_name((enum offload)w->value);
			else if (!strcmp(k->path, "rules.match.protocol"))
				name = protocol_name((enum protocol)w->value);
			else if (!strcmp(k->path, "rules.match.network"))
				name = network_name((enum network)w->value);
			if (name)
				assert_string_equal(w->word, name);
		}
}

/* The next line of the manual is @want, case aside. */
static void line_expect(FILE *f, const char *want)
{
	char line[1024];

	assert_non_null(fgets(line, sizeof(line), f));
	line[strcspn(line, "\n")] = '\0';
	if (strcasecmp(line, want))
		fail_msg("manual: %s\nschema: %s", line, want);
}

/* Path and default of each key and of no other, its text, what is accepted. */
static void test_manual(void **state)
{
	_cleanup_fclose_ FILE *f = fopen(MANUAL, "re");
	const struct schema_key *k = schema_keys;
	char line[1024], want[1024];

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		struct words accepted = { 0 };

		if (strncmp(line, ".It Cm ", 7))
			continue;
		if (!k->path)
			fail_msg("no key: %s", line);
		snprintf(want, sizeof(want), ".It Cm %s%s%s\n", k->path,
			 k->fallback ? " No = Li " : "", k->fallback ? k->fallback : "");
		assert_string_equal(line, want);
		snprintf(want, sizeof(want), "%s.", k->text);
		line_expect(f, want);
		schema_accepted(k, &accepted);
		snprintf(want, sizeof(want), "Accepted: %s.", accepted.text);
		line_expect(f, want);
		if (k->flags & SCHEMA_REQUIRED)
			line_expect(f, "Required.");
		k++;
	}
	if (k->path)
		fail_msg("not in the manual: %s", k->path);
}

/* Whoever adds a row says enough about it. */
static void test_rows(void **state)
{
	(void)state;
	for (const struct schema_key *k = schema_keys; k->path; k++) {
		struct words accepted = { 0 };

		assert_non_null(k->text);
		assert_true(k->type != SCHEMA_WORD || k->words);
		assert_true(k->type != SCHEMA_TEXT || k->kind);
		assert_true(k->fallback || !k->size || k->type == SCHEMA_PATH);
		for (const struct schema_key *other = k + 1; other->path; other++)
			assert_string_not_equal(k->path, other->path);
		schema_accepted(k, &accepted);
		assert_true(accepted.len > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_manual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
