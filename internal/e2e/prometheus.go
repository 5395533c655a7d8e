// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Prometheus is a Prometheus server.
type Prometheus struct {
	endpoint string
}

// prometheusBinary returns the path of Prometheus, which `make prometheus` builds.
func prometheusBinary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PROMETHEUS")
	if path == "" {
		path = "../../_build/prometheus"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no Prometheus, `make prometheus` builds one, or name another in PROMETHEUS: %v", err)
	}
	return path
}

// startPrometheus starts a Prometheus that takes OTLP and scrapes the targets each
// second, with the settings of docs/prometheus.md. job is what Prometheus calls them.
func startPrometheus(t *testing.T, targets map[string]string) *Prometheus {
	t.Helper()
	p := &Prometheus{endpoint: freeEndpoint(t)}
	dir := t.TempDir()
	var jobs strings.Builder
	for _, job := range slices.Sorted(maps.Keys(targets)) {
		fmt.Fprintf(&jobs, "  - {job_name: %s, static_configs: [{targets: [%q]}]}\n", job, targets[job])
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(`
global: {scrape_interval: 1s}
otlp:
  promote_resource_attributes: [host.name, process.pid, process.executable.name]
storage: {tsdb: {out_of_order_time_window: 5m}}
scrape_configs:
`+jobs.String()), 0o644))
	var said log
	cmd := exec.Command(prometheusBinary(t),
		"--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", p.endpoint, "--web.enable-otlp-receiver",
		"--enable-feature", "created-timestamp-zero-ingestion")
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = as(0)
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Log("Prometheus' log:\n" + said.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if response, err := web.Get("http://" + p.endpoint + "/-/ready"); err == nil {
			require.NoError(t, response.Body.Close())
			if response.StatusCode == http.StatusOK {
				return p
			}
		}
		select {
		case <-ended:
			require.FailNow(t, "Prometheus ended", said.String())
		default:
			require.True(t, time.Now().Before(deadline), "Prometheus is not ready: %s", said.String())
		}
	}
}

// OTLP is where it takes OTLP.
func (p *Prometheus) OTLP() string { return "http://" + p.endpoint + "/api/v1/otlp" }

// Query returns a query's answer at a time, by the labels without the name and
// without those that only say where the target is.
func (p *Prometheus) Query(t *testing.T, expression string, at time.Time) map[string]float64 {
	t.Helper()
	answer, err := p.query(expression, at)
	require.NoError(t, err)
	return answer
}

func (p *Prometheus) query(expression string, at time.Time) (map[string]float64, error) {
	response, err := web.PostForm("http://"+p.endpoint+"/api/v1/query", url.Values{
		"query": {expression}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)},
	})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var reply struct {
		Status, Error string
		Warnings      []string
		Data          struct {
			ResultType string
			Result     []struct {
				Metric map[string]string
				Value  [2]any // time, and value as text
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil {
		return nil, fmt.Errorf("%s: %w", expression, err)
	}
	if reply.Status != "success" || reply.Data.ResultType != "vector" || len(reply.Warnings) > 0 {
		return nil, fmt.Errorf("%s: %+v", expression, reply)
	}
	answer := make(map[string]float64)
	for _, one := range reply.Data.Result {
		maps.DeleteFunc(one.Metric, func(name, _ string) bool {
			return name == "__name__" || name == "job" || name == "instance"
		})
		key := sample("", one.Metric)
		if _, twice := answer[key]; twice {
			return nil, fmt.Errorf("%s: %s comes twice", expression, key)
		}
		text, _ := one.Value[1].(string)
		if answer[key], err = strconv.ParseFloat(text, 64); err != nil {
			return nil, fmt.Errorf("%s: %w", expression, err)
		}
	}
	return answer, nil
}

// Await repeats a query at the present until its answer is right, and returns the
// last one.
func (p *Prometheus) Await(t *testing.T, expression string, patience time.Duration, right func(map[string]float64) bool) map[string]float64 {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		answer := p.Query(t, expression, time.Now())
		if right(answer) || time.Now().After(deadline) {
			return answer
		}
	}
}
