// SPDX-License-Identifier: Apache-2.0

package tcp

import "fmt"

// Failure is why an attempt to connect came to nothing.
type Failure uint8

// The failures.
const (
	NoFailure Failure = iota // it did not fail, or the source does not know
	Refused
	Reset
	TimedOut
	HostUnreachable
	NetUnreachable
	OtherFailure // such as a process that gave up

	// NumFailures is the number of failures.
	NumFailures
)

var failureNames = [NumFailures]string{"", "connection_refused", "connection_reset", "timed_out", "host_unreachable", "network_unreachable", "_OTHER"}

// String returns the failure as a value of error.type.
func (f Failure) String() string {
	if f < NumFailures {
		return failureNames[f]
	}
	return fmt.Sprintf("failure(%d)", uint8(f))
}

// LinuxFailure is the failure that an error number of Linux stands for
// (include/uapi/asm-generic/errno.h): sk_err of a socket that was never
// established.
func LinuxFailure(errno uint32) Failure {
	switch errno {
	case 101:
		return NetUnreachable // ENETUNREACH
	case 104:
		return Reset // ECONNRESET
	case 110:
		return TimedOut // ETIMEDOUT
	case 111:
		return Refused // ECONNREFUSED
	case 113:
		return HostUnreachable // EHOSTUNREACH
	}
	return OtherFailure
}
