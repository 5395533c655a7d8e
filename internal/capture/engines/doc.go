// SPDX-License-Identifier: Apache-2.0

// Package engines lists the capture engines of this system.
package engines
