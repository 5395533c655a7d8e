#!/bin/sh
# Fails if `make generate` would change anything. It generates in a copy, so it
# neither wants a clean work tree nor leaves anything in it.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

mkdir "$tmp/now" "$tmp/generated"
tar -C "$root" --exclude ./.git --exclude ./_build -cf "$tmp/tree.tar" .
tar -C "$tmp/now" -xf "$tmp/tree.tar"
tar -C "$tmp/generated" -xf "$tmp/tree.tar"
sh "$tmp/generated/tools/generate.sh"
if ! (cd "$tmp" && diff -ru now generated); then
	echo "metadata.yaml and what is generated from it differ, as above: run 'make generate'" >&2
	exit 1
fi
