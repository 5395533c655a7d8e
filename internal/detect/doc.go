// SPDX-License-Identifier: Apache-2.0

// Package detect finds what someone should look at, in what happens to connections:
// scans, beacons, DNS tunnels, unusual egress, new listeners, stalled connections
// and exhausted resources.
//
// [Detectors] is an [event.Listener] with two more inputs, [Scrape] and [Query]. All
// memory is bounded: tables evict what was used least recently, and count that. All
// times are those of events, so that a recording gives the same findings as the live
// run. What each detector finds, and why its defaults are what they are, is in
// docs/findings.md.
package detect
