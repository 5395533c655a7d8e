#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# After a removal: "purge" removes all that the package and its service left behind.
set -e

if [ "$1" = purge ]; then
	rm -rf /var/lib/otelcol-tcpstats /etc/otelcol-tcpstats
	if id otelcol-tcpstats >/dev/null 2>&1; then
		userdel otelcol-tcpstats
	fi
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
