// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// namedDir is where ip-netns(8) gives namespaces names.
const namedDir = "/run/netns"

// maxPIDs is how many processes of a namespace are listed.
const maxPIDs = 32

// Find returns the namespaces that have processes under the given procfs,
// ordered by inode, and how many processes may not be looked at. Namespaces
// that only single threads are in are not found. Its error is that of ctx or of
// reading procfs itself.
func Find(ctx context.Context, proc string) (found []Found, denied int, err error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, 0, fmt.Errorf("find network namespaces: %w", err)
	}
	defer dir.Close() // was only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, 0, fmt.Errorf("find network namespaces: list %s: %w", proc, err)
	}
	byID := make(map[uint64]*Found)
	for _, name := range names {
		pid, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, denied, fmt.Errorf("find network namespaces: %w", err)
		}
		var st unix.Stat_t
		switch err := unix.Fstatat(int(dir.Fd()), name+"/ns/net", &st, 0); {
		case err == nil:
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			denied++
			continue
		default:
			continue // has ended, or is ending
		}
		f := byID[st.Ino]
		if f == nil {
			f = &Found{ID: st.Ino}
			byID[st.Ino] = f
		}
		if len(f.PIDs) < maxPIDs {
			f.PIDs = append(f.PIDs, int32(pid))
		}
	}
	named := namedNamespaces(namedDir)
	for id, f := range byID {
		f.Name = named[id]
		slices.Sort(f.PIDs)
		found = append(found, *f)
	}
	slices.SortFunc(found, func(a, b Found) int { return cmp.Compare(a.ID, b.ID) })
	return found, denied, nil
}

// namedNamespaces returns the names that namespaces have in a directory, by
// inode. Without the directory there are none.
func namedNamespaces(dir string) map[uint64]string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	named := make(map[uint64]string, len(entries))
	for _, entry := range entries {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, entry.Name()), &st) == nil {
			named[st.Ino] = entry.Name()
		}
	}
	return named
}
