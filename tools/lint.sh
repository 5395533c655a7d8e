#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What `make lint` runs. It goes through all of it before it fails.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
GO=${GO:-go}
status=0
bad() { status=1; }

echo "== gofmt"
unformatted=$(find . \( -path ./.git -o -path ./_build \) -prune -o -name '*.go' -exec gofmt -l {} +) || bad
[ -z "$unformatted" ] || { echo "$unformatted"; bad; }

staticcheck=$("$GO" tool -modfile=tools/lint/go.mod -n staticcheck)
here=$("$GO" env GOOS)/$("$GO" env GOARCH)
for target in "$here" ${VET:-}; do
	echo "== vet and staticcheck for $target"
	export GOOS="${target%/*}" GOARCH="${target#*/}" CGO_ENABLED=0
	"$GO" vet ./... || bad
	# What is unused (U1000) elsewhere may well be used here.
	checks=inherit
	[ "$target" = "$here" ] || checks=inherit,-U1000
	"$staticcheck" -checks "$checks" ./... || bad
done
unset GOOS GOARCH CGO_ENABLED

for module in . ${MODULES:-}; do
	echo "== go.mod of $module"
	"$GO" mod -C "$module" tidy -diff || bad
	[ "$module" = . ] || [ -z "$("$GO" list -C "$module" ./... 2>/dev/null)" ] || "$GO" vet -C "$module" ./... || bad
done

echo "== licences"
# What is generated has its generator's header, and uPlot its own.
unlicensed=$(git ls-files '*.go' '*.sh' '*.c' '*.h' '*.js' | grep -v '/uplot/' | while read -r file; do
	[ ! -f "$file" ] || head -n 5 "$file" | grep -q -e 'SPDX-License-Identifier' -e 'Code generated' || echo "$file has no SPDX line"
done)
[ -z "$unlicensed" ] || { echo "$unlicensed"; bad; }

echo "== scripts"
for script in tools/*.sh tools/*/*.sh packaging/*.sh packaging/*/*.sh packaging/*.openrc packaging/freebsd/otelcol_tcpstats; do
	sh -n "$script" || bad
done
bash -n .ci/run || bad

exit $status
