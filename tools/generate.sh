#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Generates internal/metadata, internal/metadatatest, documentation.md,
# docs/registry/tcp_stats.yaml and the generated_*_test.go at the root from metadata.yaml, and the BPF programs from
# their C. `make generate` runs it; it may be run from any folder.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

# mdatagen names the root package after the folder that metadata.yaml is in, but a
# clone may be called anything: show it the clone under the package's name.
tmp=$(mktemp -d)
trap 'rm -f "$tmp/tcpstatsreceiver"; rmdir "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
ln -s "$root" "$tmp/tcpstatsreceiver"

# From tools/distribution, whose go.mod pins mdatagen apart from what the receiver is
# built of.
cd "$root/tools/distribution"
go tool mdatagen "$tmp/tcpstatsreceiver/metadata.yaml"

# mdatagen writes for its owner's eyes only; let others read, as in a fresh clone.
cd "$root"
chmod -R u=rwX,go=rX internal/metadata internal/metadatatest
chmod u=rw,go=r documentation.md generated_*_test.go

# mdatagen has no histograms of metrics that compile, so metadata.yaml calls them
# gauges, and says so in the text: correct the table below it.
awk '
/^### / { histogram = 0 }
/^- Written as a cumulative histogram/ { histogram = 1; sub(/, whatever the table below says \(mdatagen has no histograms here yet\)/, "") }
histogram && /^\| Unit \|/ { print "| Unit | Metric Type | Value Type | Aggregation Temporality | Stability |"; getline; print "| ---- | ----------- | ---------- | ----------------------- | --------- |"; getline; sub(/\| Gauge \| Double \|/, "| Histogram | Double | Cumulative |") }
{ print }
' documentation.md >documentation.md.new
mv documentation.md.new documentation.md
chmod u=rw,go=r documentation.md

# The same names for OpenTelemetry's weaver.
(cd "$root/tools/distribution" && go run ./registry "$root/metadata.yaml" "$root/docs/registry/tcp_stats.yaml")

# The programs are compiled only where their C has changed: what comes out is not the
# same with every compiler.
cd "$root/internal/source/bpf"
programs="closes holders sockets"
sums=program/sums
sum() { for program in $programs; do echo "${program}_bpfel.go ${program}_bpfel.o"; done | xargs cksum program/*.c program/*.h; }
if [ "$(sum 2>/dev/null)" = "$(cat $sums)" ]; then
	exit 0
fi
cc=
for candidate in ${BPF_CLANG:-clang clang-21 clang-20 clang-19 clang-18}; do
	cc=$(command -v "$candidate") && break
done
strip=
for candidate in ${BPF_STRIP:-llvm-strip llvm-strip-21 llvm-strip-20 llvm-strip-19 llvm-strip-18}; do
	strip=$(command -v "$candidate") && break
done
if [ -z "$cc" ] || [ -z "$strip" ] || [ ! -f /usr/include/bpf/bpf_helpers.h ]; then
	echo "skipped: the BPF programs, whose C has changed: they want clang, llvm-strip and libbpf's headers (apt install clang llvm libbpf-dev)" >&2
	exit 0
fi
for program in $programs; do
	# Kernels before 5.9 have no iterators, and all since 5.1 know the third version of
	# the instructions.
	(cd "$root/tools/distribution" && GOPACKAGE=bpf go tool bpf2go -output-dir ../../internal/source/bpf -cc "$cc" -strip "$strip" -target bpfel -tags linux \
		-cflags '-O2 -Wall -Wextra -Werror -mcpu=v3' "$program" "../../internal/source/bpf/program/$program.bpf.c")
done
sum >$sums
