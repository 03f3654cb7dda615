/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_PRELOAD_H
#define LAB_PRELOAD_H

#include <dlfcn.h>
#include <stdatomic.h>

/* The next definition of a function behind this library's own. */
#define NEXT(name)                                                                                 \
	({                                                                                         \
		static _Atomic(void *) found_;                                                     \
		void *f_ = atomic_load(&found_);                                                   \
		if (!f_) {                                                                         \
			f_ = dlsym(RTLD_NEXT, #name);                                              \
			atomic_store(&found_, f_);                                                 \
		}                                                                                  \
		(__typeof__(&name))f_;                                                             \
	})

#endif
