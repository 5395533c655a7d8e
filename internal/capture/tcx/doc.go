// SPDX-License-Identifier: Apache-2.0

// Package tcx captures packets with BPF programs at the TCX hooks of each interface
// (Linux 6.6), where packets that do not match cost least and are never copied.
//
// The programs are made from the filter when the engine is opened: each instruction
// of BPF's first version becomes some of eBPF.
package tcx
