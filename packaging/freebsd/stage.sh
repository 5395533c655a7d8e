#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Lays out the files of a FreeBSD package in a folder and makes the package where pkg(8)
# is. It runs inside the unpacked tarball for FreeBSD:
#
#	sh freebsd/stage.sh /tmp/stage
set -eu
stage=${1:?usage: stage.sh FOLDER}
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
local=$stage/usr/local
install -d "$local/bin" "$local/etc/otelcol-tcpstats" "$local/etc/rc.d" \
	"$local/share/doc/otelcol-tcpstats" "$local/share/examples/otelcol-tcpstats" \
	"$local/share/licenses/otelcol-tcpstats" "$local/share/otelcol-tcpstats/kmod"
install -m 755 "$here/otelcol-tcpstats" "$local/bin/"
install -m 644 "$here/config.yaml" "$local/etc/otelcol-tcpstats/config.yaml.sample"
install -m 555 "$here/freebsd/otelcol_tcpstats" "$local/etc/rc.d/"
install -m 644 "$here/README.md" "$here/documentation.md" "$here/THIRD_PARTY_NOTICES" "$local/share/doc/otelcol-tcpstats/"
install -m 644 "$here"/docs/*.md "$local/share/doc/otelcol-tcpstats/"
install -m 644 "$here"/examples/*.yaml "$local/share/examples/otelcol-tcpstats/"
install -m 644 "$here/LICENSE" "$local/share/licenses/otelcol-tcpstats/"
# The module's sources: it is built on the host that loads it.
install -m 644 "$here"/kmod/* "$local/share/otelcol-tcpstats/kmod/"

# The list is of what is there, so that no file is forgotten.
(
	cd "$local"
	find . -type f | sed 's|^\./||' | sort | sed \
		-e 's|^etc/otelcol-tcpstats/config.yaml.sample$|@sample &|' \
		-e 's|^etc/rc.d/|@(root,wheel,0555) &|'
) >"$stage/pkg-plist"
if command -v pkg >/dev/null; then
	pkg create -M "$here/freebsd/pkg-manifest.ucl" -p "$stage/pkg-plist" -r "$stage" -o "$stage"
else
	echo "pkg(8) is not here. Where it is: pkg create -M $here/freebsd/pkg-manifest.ucl -p $stage/pkg-plist -r $stage" >&2
fi
