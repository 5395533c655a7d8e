#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Before a removal, or before another version takes its place: deb calls it with "remove",
# "deconfigure", "upgrade" or "failed-upgrade", rpm with the number of versions that stay,
# apk and pacman with a version.
set -e

service=otelcol-tcpstats.service

case $1 in
upgrade | failed-upgrade | [1-9]) exit 0 ;;
remove | deconfigure)
	# Debian's stays enabled, so that it starts when it is installed again.
	if [ -d /run/systemd/system ]; then
		deb-systemd-invoke stop "$service" >/dev/null || true
	fi
	exit 0
	;;
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now "$service" || true
elif command -v systemctl >/dev/null; then # in the chroot of an image
	systemctl --no-reload disable "$service" || true
elif command -v rc-service >/dev/null; then
	rc-service --ifexists --ifstarted otelcol-tcpstats stop || true
	rc-update --quiet --all delete otelcol-tcpstats || true # it need not be in there
fi
