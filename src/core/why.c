/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/mem.h"
#include "core/why.h"

static const char *const words[] = {
#define WHY(name, word, text) [WHY_##name] = word,
#include "core/why.def"
#undef WHY
};

static const char *const texts[] = {
#define WHY(name, word, text) [WHY_##name] = text,
#include "core/why.def"
#undef WHY
};

static_assert(ARRAY_SIZE(words) == WHY_COUNT, "a word for each reason");
static_assert(ARRAY_SIZE(texts) == WHY_COUNT, "a text for each reason");

const char *why_word(enum why w)
{
	return words[w];
}

const char *why_text(enum why w)
{
	return texts[w];
}
