#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The gate: `make test` runs it, and nothing else decides. It works as root and as an
# ordinary user; what it cannot do on a machine it skips, with a line that says so.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
GO=${GO:-go}
export GO

step() { printf '\n== %s\n' "$*"; }

step "generated files are up to date"
sh tools/check-generated.sh

step "vet"
"$GO" vet ./...
for target in ${VET:-}; do
	echo "$target"
	GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0 "$GO" vet ./...
done

# The race detector wants cgo, cgo a C compiler and the C library's headers. Whether
# they are all there shows best where it is used.
race=-race
if ! why=$("$GO" test -race -count=1 -run '^$' ./internal/tcp 2>&1); then
	race=
	echo "skipped: the race detector, which wants a C compiler (apt install gcc libc6-dev): $(echo "$why" | head -n 1)"
fi

step "tests of the receiver${race:+, with the race detector}"
sh tools/gotest.sh $race ./...

step "distribution"
"${MAKE:-make}" --no-print-directory build
OTELCOL_TCPSTATS=$root/_build/otelcol-tcpstats
export OTELCOL_TCPSTATS

step "tests of this distribution, its examples, and other people's distributions"
(cd tools/distribution && sh ../gotest.sh -count=1 ./...)

if [ "$("$GO" env GOOS)" = linux ]; then
	step "tests of the bench that compares it with others"
	(cd tools/peers && sh ../gotest.sh -count=1 ./...)
else
	echo "skipped: the bench that compares it with others, which measures Linux"
fi

step "tests of packages, images and manifests"
for module in release kubernetes; do
	(cd tools/$module && sh ../gotest.sh -count=1 ./...)
done

if [ "$("$GO" env GOOS)" = linux ]; then
	step "a minute of everything that happens to a collector"
	(cd tools/soak && sh ../gotest.sh -count=1 ./...)
else
	echo "skipped: the soak test, which makes network namespaces of Linux"
fi

step "tests of series in Prometheus' own engine"
(cd tools/promql && sh ../gotest.sh -count=1 ./...)

step "tests of the live page in a browser"
(cd tools/page && sh "$root/tools/gotest.sh" -count=1 ./...)

# Some minutes where nothing of it is compiled yet, none later. Its tests are skipped
# where it cannot be had.
if [ "$("$GO" env GOOS)" = linux ]; then
	step "Prometheus, for the end-to-end tests"
	if ! why=$("${MAKE:-make}" --no-print-directory prometheus 2>&1); then
		echo "skipped: the tests that ask a Prometheus server, which cannot be built here: $(echo "$why" | tail -n 1)"
	fi
fi

if [ -f internal/e2e/go.mod ]; then
	step "end-to-end tests"
	(cd internal/e2e && sh "$root/tools/gotest.sh" -count=1 ./...)
fi
