#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# After a removal: "purge" removes all that the package and its service left behind.
set -e

if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge otelcol-tcpstats.service >/dev/null || true
	fi
	rm -rf /var/lib/otelcol-tcpstats /etc/otelcol-tcpstats
	# Somebody else's process may still have the user.
	if id otelcol-tcpstats >/dev/null 2>&1; then
		userdel otelcol-tcpstats || true
	fi
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
