#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# go test with the output that it has without -v, and one thing more: a line for
# each test that was skipped, with the reason, which go test keeps to itself.
# Takes the flags and packages of go test.
set -eu

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# What the compiler says comes on standard error and goes straight on.
{ "${GO:-go}" test -v "$@" || echo failed >"$tmp/failed"; } | awk '
	/^ *=== (RUN|PAUSE|CONT|NAME)/ { test = $3; next }
	/^ *--- PASS:/ { next }
	/^ *--- SKIP:/ { print "skipped: " $3 ": " said[$3]; next }
	/^(ok  |\?   )\t/ { print; kept = ""; next }
	/^FAIL\t/ { printf "%s", kept; print; kept = ""; next }
	{
		# The reason of a skip is what the test said last.
		if ($0 ~ /^ +[^ ]+\.go:[0-9]+: /) { said[test] = $0; sub(/^ +/, "", said[test]) }
		kept = kept $0 "\n"
	}
	END { printf "%s", kept }'
[ ! -e "$tmp/failed" ]
