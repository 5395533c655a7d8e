// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the built distribution as a user runs it: processes of its
// own hold TCP sockets in every state, the collector watches them, and what it
// sends to an OTLP receiver and shows to Prometheus is compared with what those
// processes know, with `ss`, and with /proc/net.
//
// As root all of it happens in a network namespace of its own, in which nothing
// else talks. Otherwise it happens on the loopback interface of the host, and
// only the sockets made here are judged.
//
// Nothing is compared by waiting for a while. What is read before a scrape began
// and again after it ended, and is the same both times, must be what the scrape
// says; what only grows must lie between.
//
// The binary is the one that OTELCOL_TCPSTATS names, else the one that
// `make build` leaves.
//
// It is a module of its own, so that what these tests need is not among what the
// receiver needs.
package e2e
