#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Boots a FreeBSD kernel under qemu, without acceleration, and prints its console
# until the guest powers off.
#
#     boot.sh KERNEL FOLDER [SECONDS]
#
# KERNEL is an amd64 kernel with virtio_blk and FFS in it, which qemu boots through
# PVH. Kernels that know PVH only from Xen do not boot here: the notes of Xen must be
# in a loaded segment (13 has them outside), early delays must be the i8254's instead
# of Xen's clock's (xen_pvh_init_ops in x86/xen/pv.c of 15), and the memory map must
# come from start_info instead of Xen (13). FOLDER becomes the root file system; its /sbin/init runs. After SECONDS, an
# hour by default, qemu is stopped, and this fails.
#
# With ICOUNT=1 there is one processor, and each instruction takes a nanosecond of the
# guest's time: what it measures is a count of instructions, whatever else this machine
# does.
set -eu

kernel=$1
folder=$2
seconds=${3:-3600}

clock="-accel tcg,thread=multi -smp 2"
[ -z "${ICOUNT:-}" ] || clock="-accel tcg,thread=single -smp 1 -icount shift=0,sleep=off"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# Of the first version of UFS: FreeBSD 15 refuses the superblock that the makefs of
# Debian 12 writes for the second. What is free is for the jobs to write to.
makefs -t ffs -B little -o version=1 -b 256m -f 4096 "$tmp/root.img" "$folder" >"$tmp/makefs" 2>&1 || {
	cat "$tmp/makefs" >&2
	exit 1
}

# A panic powers off, as the end of the jobs does, or hangs. No network: the guest talks
# to itself.
# shellcheck disable=SC2086 # these are words
timeout "$seconds" qemu-system-x86_64 \
	-machine q35 $clock -cpu max,-la57,-pku -m 2048 \
	-nodefaults -display none -no-reboot -serial stdio \
	-drive if=none,id=root,file="$tmp/root.img",format=raw,cache=unsafe \
	-device virtio-blk-pci,drive=root \
	-kernel "$kernel" \
	-append "vfs.root.mountfrom=ufs:/dev/vtbd0 console=comconsole hw.uart.console=io:0x3f8 kern.poweroff_on_panic=1 kern.panic_reboot_wait_time=0" \
	</dev/null &
qemu=$!
trap 'kill "$qemu"; exit 1' HUP INT TERM
wait "$qemu"
