// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package peer

import (
	"errors"
	"fmt"
	"runtime"
)

// OpenTranslations fails: only Linux's connection tracking is known.
func OpenTranslations() (*Translations, error) {
	return nil, fmt.Errorf("connection tracking on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
