// SPDX-License-Identifier: Apache-2.0

// Package socket is what the engines on Linux's packet sockets share: packet(7).
package socket
