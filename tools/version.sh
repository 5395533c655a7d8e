#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints the version of what is built here. The one place that names it is dist.version
# in builder-config.yaml. The commit that is tagged with it is the release; every other
# one is on the way there, and its version says from which commit and day it is:
#
#	0.1.0                           the release
#	0.1.0-dev.20261121+acee76f      before it; with .dirty where files were changed
#
#	tools/version.sh [--date]       --date: of the commit, in seconds since 1970
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# A clone may belong to another user, and git would not read it then.
git() { command git -c safe.directory="$root" -C "$root" "$@"; }

release=$(sed -n 's/^  version: *//p' "$root/builder-config.yaml")
[ -n "$release" ] || { echo 'builder-config.yaml has no dist.version' >&2; exit 1; }
commit=$(git rev-parse --short=7 HEAD 2>/dev/null) || commit=

if [ "${1:-}" = --date ]; then
	if [ -n "$commit" ]; then git log -1 --format=%ct; else echo 0; fi
	exit
fi
if [ -z "$commit" ]; then # sources without their history
	echo "$release"
	exit
fi
dirty=
git diff --quiet HEAD -- 2>/dev/null || dirty=.dirty
if [ -z "$dirty" ] && [ "$(git rev-parse -q --verify "v$release^{commit}" 2>/dev/null)" = "$(git rev-parse HEAD)" ]; then
	echo "$release"
else
	echo "$release-dev.$(TZ=UTC git log -1 --date=format-local:%Y%m%d --format=%cd)+$commit$dirty"
fi
