#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# install-config.sh FILE FOLDER: Meson calls it at `make install`.
set -eu
to="${DESTDIR:-}$2/${1##*/}"
[ -e "$to" ] || install -D -m 0644 "$1" "$to"
