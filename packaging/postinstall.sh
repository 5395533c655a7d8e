#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# After an installation or an upgrade. deb calls it with "configure" and the version that
# was there before, rpm with the number of versions there are, apk and pacman with a version.
set -e

user=otelcol-tcpstats
home=/var/lib/otelcol-tcpstats

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

# Nothing else is to be done where systemd does not run, in a chroot for instance.
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload

case $1 in
configure)
	# As Debian's packages do: a new service is enabled and started. One that somebody has
	# disabled stays so.
	if [ -z "$2" ]; then
		systemctl enable --now otelcol-tcpstats.service
	else
		systemctl try-restart otelcol-tcpstats.service
	fi
	;;
1) systemctl preset otelcol-tcpstats.service ;;
*) systemctl try-restart otelcol-tcpstats.service ;;
esac
