// SPDX-License-Identifier: Apache-2.0

package tcp

// Role is which end of a connection this host has.
type Role uint8

// The roles.
const (
	NoRole Role = iota // not known
	Client             // the connection was opened from here
	Server             // it was accepted here
)

var roleNames = [...]string{"", "client", "server"}

// String returns the role as a value of tcp.role.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "unknown"
}
