#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Before a removal, or before another version takes its place: deb calls it with "remove"
# or "upgrade", rpm with the number of versions that stay, apk and pacman with a version.
set -e

case $1 in
upgrade | [1-9]) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now otelcol-tcpstats.service
elif command -v rc-service >/dev/null; then
	rc-service --ifexists --ifstarted otelcol-tcpstats stop
	rc-update --quiet delete otelcol-tcpstats default || true # it need not be in there
fi
