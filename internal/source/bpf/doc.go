// SPDX-License-Identifier: Apache-2.0

// Package bpf reads Linux's TCP sockets with BPF programs: an iterator over the
// sockets that writes only what metrics are made of, another over the
// descriptors of all processes, and one at a tracepoint that writes the last
// sample of each connection that ends, with its process and the cause.
//
// The programs are in the folder program, in C. What the compiler makes of them
// is beside this file (bpf2go); `make generate` makes it anew where there is a
// compiler. They find the fields of kernel structures by name (CO-RE), so one
// object serves all kernels from 5.9 that have BTF.
package bpf
