/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_WHY_H
#define CORE_WHY_H

/* Why a flow ended; see why.def. */
enum why {
#define WHY(name, word, text) WHY_##name,
#include "core/why.def"
#undef WHY
	WHY_COUNT
};

const char *why_word(enum why w); /* for records: "server-reset" */
const char *why_text(enum why w); /* a sentence for people */

#endif
