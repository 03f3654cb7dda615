/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

/**
 * units_parse_time() - "250ms", "30s", "5m", "2h", "1d"; the unit is mandatory except for "0"
 *
 * Return: 0, -EINVAL (no such thing), -ERANGE (does not fit).
 */
int units_parse_time(const char *text, uint32_t *ret_ms);

/**
 * units_parse_size() - "512B", "64KiB", "1MiB", "2GiB"; the unit is mandatory except for "0"
 *
 * Return: 0, -EINVAL, -ERANGE.
 */
int units_parse_size(const char *text, uint64_t *ret_bytes);

#endif
