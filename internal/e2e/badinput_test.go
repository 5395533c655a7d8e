// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBadInput has `validate` look at configurations with a mistake each. What it
// must say of it stands in the file, after "# says: ".
func TestBadInput(t *testing.T) {
	collector := binary(t)
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			expected := regexp.MustCompile(`(?m)^# says: (.*)$`).FindAllStringSubmatch(string(text), -1)
			require.NotEmpty(t, expected, "nothing is expected")

			out, err := validate(t, collector, file)
			var exit *exec.ExitError
			require.True(t, errors.As(err, &exit) && exit.ExitCode() > 0, "it found nothing wrong (%v):\n%s", err, out)
			for _, m := range expected {
				assert.Contains(t, out, m[1])
			}
			assert.NotContains(t, out, "panic")
			assert.NotContains(t, out, "metricsbuilderconfig", "names of Go are none of the user's")
			assert.NotContains(t, out, "metadata.", "names of Go are none of the user's")
			assert.NotContains(t, out, "receiver.Config", "names of Go are none of the user's")
		})
	}
}

// TestGoodInput has `validate` look at one that has every kind of setting right,
// and at one of settings without values.
func TestGoodInput(t *testing.T) {
	for _, name := range []string{"good", "good_empty"} {
		t.Run(name, func(t *testing.T) {
			out, err := validate(t, binary(t), "testdata/"+name+".yaml")
			require.NoError(t, err, out)
		})
	}
}

func validate(t *testing.T, collector, file string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	text, err := exec.CommandContext(ctx, collector, "validate", "--config", file).CombinedOutput()
	return string(text), err
}
