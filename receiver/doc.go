// SPDX-License-Identifier: Apache-2.0

// Package receiver is the collector's side of tcpstats: its configuration, its
// factory, and the scrape that leads each record from a source through the
// table to the pipeline. No system call and no data point is made here.
package receiver
