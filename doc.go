// SPDX-License-Identifier: Apache-2.0

// Package tcpstatsreceiver is an OpenTelemetry Collector receiver that tells
// what every TCP connection of a host is doing.
package tcpstatsreceiver
