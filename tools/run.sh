#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs the distribution with a configuration that has a page, for `make run`. Of
# what the collector logs it shows the page's address, which comes last, and
# whatever is wrong.
#
#	tools/run.sh DISTRIBUTION CONFIG
set -u
fifo=$(mktemp -u "${TMPDIR:-/tmp}/tcpstats.XXXXXX")
mkfifo -m 600 "$fifo" || exit 1
# The collector ends at Ctrl-C by itself, and this shell with it; what it says until
# then is still shown.
(
	trap '' INT TERM
	exec awk -F '\t' '
		$2 == "info" && $4 ~ /^live page: / { page = substr($4, 12); next }
		$2 == "info" && $4 ~ /^Everything is ready/ && page != "" {
			print "This host'\''s connections, live: " page "   (Ctrl-C ends it)"; fflush(); next
		}
		$2 == "info" || $2 == "debug" { next }
		$2 == "warn" { print "warning: " $4 " " $5; fflush(); next }
		$2 == "error" && $4 ~ /^Failed to start component/ { next } # it is said again at the end
		{ print; fflush() }
	' <"$fifo"
) &
filter=$!
trap : INT TERM
"$1" --config "$2" >"$fifo" 2>&1 &
collector=$!
wait "$collector"
status=$?
while kill -0 "$collector" 2>/dev/null; do
	# A signal ended the wait, not the collector: it has the signal too, or gets it.
	kill -TERM "$collector" 2>/dev/null
	wait "$collector"
	status=$?
done
rm -f "$fifo"
wait "$filter"
exit "$status"
