#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# After an installation or an upgrade. deb calls it with "configure" and the version that
# was there before, or with "abort-..." when a removal or an upgrade failed; rpm with the
# number of versions there are, apk and pacman with a version.
set -e

user=otelcol-tcpstats
home=/var/lib/otelcol-tcpstats
service=otelcol-tcpstats.service

# A container's image may have neither systemd nor useradd; busybox has adduser alone.
if ! id "$user" >/dev/null 2>&1; then
	if command -v systemd-sysusers >/dev/null; then
		systemd-sysusers otelcol-tcpstats.conf
	elif command -v useradd >/dev/null; then
		useradd --system --user-group --no-create-home --home-dir "$home" --shell /usr/sbin/nologin "$user"
	else
		addgroup -S "$user"
		adduser -S -D -H -h "$home" -s /sbin/nologin -G "$user" "$user"
	fi
fi
install -d -m 0750 -o "$user" -g "$user" "$home"

running=false
if [ -d /run/systemd/system ]; then
	running=true
	systemctl daemon-reload || true
fi

# A service that cannot be enabled or started, because it is masked for instance, is no
# reason for the installation to fail.
case $1 in
configure | abort-*)
	# As Debian's packages do: a new service is enabled, in the chroot of an image as well,
	# and started. One that somebody has disabled stays so, also over a removal, and
	# policy-rc.d may forbid the start.
	if deb-systemd-helper --quiet was-enabled "$service"; then
		deb-systemd-helper enable "$service" >/dev/null || true
	else
		deb-systemd-helper update-state "$service" >/dev/null || true
	fi
	if $running; then
		action=start
		[ -z "$2" ] || action=restart
		deb-systemd-invoke "$action" "$service" >/dev/null || true
	fi
	;;
1)
	if command -v systemctl >/dev/null; then
		systemctl --no-reload preset "$service" || true
	fi
	;;
*)
	if $running; then
		systemctl try-restart "$service" || true
	fi
	;;
esac
