#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the web pages of the Prometheus that go.mod pins, for `make plots`: from the
# sources in its Go module, and from the npm packages that their lock file names. A
# Prometheus without pages of its own serves them if it is started in the folder that
# is printed, which must be called prometheus.
#
#   sh tools/prometheus/ui.sh _build/prometheus-ui
set -eu

[ $# -eq 1 ] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
mkdir -p "$1"
out=$(CDPATH='' cd -- "$1" && pwd -P)
GO=${GO:-go}
cd "$(dirname -- "$0")"

module=github.com/prometheus/prometheus
version=$("$GO" list -m -f '{{.Version}}' $module)
home=$out/$version/prometheus
pages=$home/web/ui/static/mantine-ui
if [ -f "$pages/index.html" ]; then
	echo "$home"
	exit
fi
if ! command -v npm >/dev/null; then
	echo "Prometheus' web pages are built with npm, which is not installed (apt install npm)" >&2
	exit 1
fi

"$GO" mod download $module
sources=$("$GO" list -m -f '{{.Dir}}' $module)/web/ui
work=$out/$version/work
rm -rf "$work"
mkdir -p "${work%/*}"
cp -R "$sources" "$work"
chmod -R u+w "$work"
(
	cd "$work"
	npm ci --ignore-scripts --no-audit --no-fund
	# mantine-ui imports the other two.
	for package in lezer-promql codemirror-promql mantine-ui; do
		npm run build -w "@prometheus-io/$package"
	done
) >"$out/build.log" 2>&1 || {
	tail -n 20 "$out/build.log" >&2
	echo "Prometheus' web pages could not be built; all of it is in $out/build.log" >&2
	exit 1
}
mkdir -p "${pages%/*}"
mv "$work/mantine-ui/dist" "$pages"
rm -rf "$work"
echo "$home"
