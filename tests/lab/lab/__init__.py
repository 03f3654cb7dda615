# SPDX-License-Identifier: Apache-2.0
"""A small network of namespaces around limpid, and what the scenarios need to look at it."""
