// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"go.opentelemetry.io/collector/confmap"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/receiver"
)

// loadConfig reads a section `detect`, with its name above it or without, as the
// receiver reads it. What names no detectors enables all of them.
func loadConfig(name string) (detect.Config, error) {
	if name == "" {
		return all(), nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return detect.Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	retrieved, err := confmap.NewRetrievedFromYAML(text)
	if err != nil {
		return detect.Config{}, fmt.Errorf("%s: %w", name, err)
	}
	conf, err := retrieved.AsConf()
	if err != nil {
		return detect.Config{}, fmt.Errorf("%s: %w", name, err)
	}
	section := conf.ToStringMap()
	if inner, ok := section["detect"].(map[string]any); ok && len(section) == 1 {
		section = inner
	}
	cfg := receiver.NewFactory().CreateDefaultConfig().(*receiver.Config)
	cfg.Detect.Enabled = detect.Names()
	if err := cfg.Unmarshal(confmap.NewFromStringMap(map[string]any{"detect": section})); err != nil {
		return detect.Config{}, fmt.Errorf("%s: %w", name, err)
	}
	return cfg.Detect, cfg.Detect.Check("detect")
}
