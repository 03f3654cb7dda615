#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# static-library.sh OBJECTS.a OUTPUT.a: one relocatable object of all of OBJECTS, in which only the
# public names are visible: a program's own buf_append() must not meet ours.
set -eu

part=$2.o
trap 'rm -f "$part"' EXIT
ld -r --whole-archive "$1" -o "$part"
objcopy --localize-hidden "$part"
rm -f "$2"
ar rcsD "$2" "$part"
