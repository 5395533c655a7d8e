// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// BootTime returns when the host was started, in whole seconds of the wall
// clock. It is the same until that clock is set.
func BootTime() (time.Time, error) { return readBootTime("/proc") }

func readBootTime(proc string) (time.Time, error) {
	path := filepath.Join(proc, "stat")
	stat, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, fmt.Errorf("read the boot time: %w (needs Linux's /proc, mounted without subset=pid; under systemd, ProcSubset=all)", err)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the boot time: %w", err)
	}
	boot, err := parseBootTime(stat)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the boot time: parse %s: %w", path, err)
	}
	return boot, nil
}
