#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What `make lint-kmod` runs: the kernel module's header, manual and, given the sources
# of a FreeBSD kernel (SYSDIR=/usr/src/sys), the module itself with clang's warnings,
# for each processor and kernel option that change what it sees.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root/kmod"
CC=${CC:-cc}
CLANG=${CLANG:-$(command -v clang || command -v clang-19 || command -v clang-18 || command -v clang-17 || command -v clang-16 || echo clang)}
status=0
bad() { status=1; }
have() { command -v "$1" >/dev/null 2>&1; }

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

echo "== tcpstats.h"
if have "$CC"; then
	echo '#include "tcpstats.h"' >"$tmp/header.c"
	for width in -m64 -m32; do
		echo 'int i;' | "$CC" "$width" -ffreestanding -include stdint.h -x c -c -o "$tmp/probe.o" - 2>/dev/null || {
			echo "skipped: $CC cannot do $width"
			continue
		}
		"$CC" "$width" -ffreestanding -std=c11 -Wall -Wextra -Wpedantic -Werror -I. -c -o "$tmp/header.o" "$tmp/header.c" || bad
	done
else
	echo "skipped: no C compiler ($CC)"
fi

echo "== tcpstats.4"
if have mandoc; then
	mandoc -Tlint -W warning tcpstats.4 || bad
else
	echo "skipped: no mandoc (apt install mandoc)"
fi

echo "== tcpstats*.c"
if [ -z "${SYSDIR:-}" ]; then
	echo "skipped: no SYSDIR=/usr/src/sys, the sources of a FreeBSD kernel"
	exit $status
fi
[ -f "$SYSDIR/sys/param.h" ] || { echo "SYSDIR: no sys/param.h in $SYSDIR" >&2; exit 2; }
have "$CLANG" || { echo "skipped: no clang"; exit $status; }

# The options of GENERIC, and those that change structures or locks.
mkdir "$tmp/opt"
echo '#define INET 1' >"$tmp/opt/opt_inet.h"
for options in "SMP INET6 VIMAGE" "SMP INET6 VIMAGE INVARIANTS INVARIANT_SUPPORT WITNESS" "SMP" "SMP INET6 MAC TCP_HHOOK"; do
	: >"$tmp/opt/opt_global.h"
	: >"$tmp/opt/opt_inet6.h"
	for option in $options; do
		echo "#define $option 1" >>"$tmp/opt/opt_global.h"
	done
	for target in amd64:x86_64:-mcmodel=kernel arm64:aarch64:-mgeneral-regs-only; do
		machine=${target%%:*}
		rest=${target#*:}
		rm -f "$tmp/opt/machine" "$tmp/opt/x86" "$tmp/opt/i386"
		ln -s "$SYSDIR/$machine/include" "$tmp/opt/machine"
		[ "$machine" != amd64 ] || { ln -s "$SYSDIR/x86/include" "$tmp/opt/x86"; ln -s "$SYSDIR/i386/include" "$tmp/opt/i386"; }
		[ -d "$SYSDIR/$machine/include" ] || { echo "skipped: no $machine in $SYSDIR"; continue; }
		echo "$machine: $options"
		# -Wno-…: what the kernel's own headers do.
		for file in tcpstats*.c; do
			"$CLANG" --target="${rest%%:*}-unknown-freebsd" "${rest#*:}" -fsyntax-only -std=gnu99 -O2 \
				-D_KERNEL -DKLD_MODULE -DHAVE_KERNEL_OPTION_HEADERS -nostdinc -ffreestanding -fno-common \
				-include "$tmp/opt/opt_global.h" -I"$tmp/opt" -I. -I"$SYSDIR" -I"$SYSDIR/contrib/ck/include" \
				-Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wundef -Wshadow -Wwrite-strings \
				-Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare -Wno-pointer-sign -Wno-address-of-packed-member -Wno-unknown-pragmas \
				-D__printf__=__freebsd_kprintf__ -Werror "$file" || bad
		done
	done
done
exit $status
