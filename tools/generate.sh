#!/bin/sh
# Generates internal/metadata, internal/metadatatest, documentation.md and the
# generated_*_test.go at the root from metadata.yaml. `make generate` runs it; it
# may be run from any folder.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

# mdatagen names the root package after the folder that metadata.yaml is in, but a
# clone may be called anything: show it the clone under the package's name.
tmp=$(mktemp -d)
trap 'rm -f "$tmp/tcpstatsreceiver"; rmdir "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
ln -s "$root" "$tmp/tcpstatsreceiver"

# From tools/, whose go.mod pins mdatagen apart from what the receiver is built of.
cd "$root/tools"
go tool mdatagen "$tmp/tcpstatsreceiver/metadata.yaml"

# mdatagen writes for its owner's eyes only; let others read, as in a fresh clone.
cd "$root"
chmod -R u=rwX,go=rX internal/metadata internal/metadatatest
chmod u=rw,go=r documentation.md generated_*_test.go
