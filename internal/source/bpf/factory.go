// SPDX-License-Identifier: Apache-2.0

package bpf

const (
	name = "bpf"
	rank = 30
)
