// Package engines lists the capture engines of this system.
package engines
