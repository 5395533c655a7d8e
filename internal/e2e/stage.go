// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// stage is a folder that every user may read: our own temporary ones are ours
// alone.
var stage string

// public returns a path in the stage.
func public(t *testing.T, name string) string {
	t.Helper()
	if stage == "" {
		dir, err := os.MkdirTemp("", "tcpstats-e2e-")
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, 0o755))
		stage = dir
	}
	return filepath.Join(stage, filepath.Base(name))
}

// staged returns the path of a binary under a name of the tests' own choice, where
// every user may run it.
func staged(t *testing.T, path, name string) string {
	t.Helper()
	to := public(t, name)
	if _, err := os.Stat(to); err == nil {
		return to
	}
	from, err := filepath.EvalSymlinks(path)
	require.NoError(t, err)
	if info, err := os.Stat(from); err == nil && info.Mode().Perm()&0o005 == 0o005 && os.Link(from, to) == nil {
		return to
	}
	require.NoError(t, copyBinary(from, to))
	return to
}

func copyBinary(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// unstage removes the stage.
func unstage() {
	if stage != "" {
		_ = os.RemoveAll(stage)
	}
}
