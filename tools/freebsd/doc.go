// SPDX-License-Identifier: Apache-2.0

// Package freebsd has no code, only a test: it boots a FreeBSD kernel that
// FREEBSD_KERNEL names and runs there the tests that can only be run on FreeBSD.
// `make test-freebsd` runs it.
//
// On this host everything is built and put into one folder, which boot.sh makes a
// disk of. In the guest init runs the jobs of a list, one after the other; there is
// nothing else in it. This test follows the console, on which init says what became
// of each job, and the kernel what is wrong with itself.
package freebsd
