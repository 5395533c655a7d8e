#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
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
# BPF programs are not compiled here: whether they are those of the C beside them is
# what their sums tell.
BPF_CLANG=none sh "$tmp/generated/tools/generate.sh" 2>"$tmp/said" || { cat "$tmp/said" >&2; exit 1; }
if [ -s "$tmp/said" ]; then
	cat "$tmp/said" >&2
	grep -q 'the BPF programs, whose C has changed' "$tmp/said" && exit 1
fi
if ! (cd "$tmp" && diff -ru now generated); then
	echo "metadata.yaml and what is generated from it differ, as above: run 'make generate'" >&2
	exit 1
fi
