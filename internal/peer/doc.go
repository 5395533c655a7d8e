// SPDX-License-Identifier: Apache-2.0

// Package peer is who the other end of a connection is: the name that was asked
// for, the service that a list has for it, the address behind a translated one, and
// the country and autonomous system of the address. All of it is found on this host,
// once, when a connection opens.
package peer
