// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// prometheus is a Prometheus server with its web pages.
type prometheus struct {
	url string
	cmd *exec.Cmd
	dir string
	log bytes.Buffer
}

// startPrometheus starts a Prometheus that takes OTLP, with the settings of
// docs/prometheus.md. It serves the pages that tools/prometheus/ui.sh built in home.
func startPrometheus(ctx context.Context, binary, home string) (*prometheus, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(home, "web", "ui", "static", "mantine-ui", "index.html")); err != nil {
		return nil, fmt.Errorf("%w (tools/prometheus/ui.sh builds Prometheus' pages)", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tcpstats-prometheus-")
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	p := &prometheus{url: "http://" + address, dir: dir}
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte(`
otlp: {promote_resource_attributes: [host.name, process.pid, process.executable.name]}
storage: {tsdb: {out_of_order_time_window: 5m}}
`), 0o600); err != nil {
		return nil, err
	}
	p.cmd = exec.CommandContext(ctx, binary, "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", address, "--web.enable-otlp-receiver")
	p.cmd.Dir = home
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%w (make prometheus builds it)", err)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if answer, err := http.Get(p.url + "/-/ready"); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return p, nil
			}
		}
	}
	p.close()
	return nil, errors.New("Prometheus is not ready: " + p.log.String())
}

// otlp is where it takes OTLP.
func (p *prometheus) otlp() string { return p.url + "/api/v1/otlp" }

// graph is its own page with the graph of an expression.
func (p *prometheus) graph(expression string, end time.Time, length, step time.Duration) string {
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }
	return p.url + "/query?" + url.Values{
		"g0.expr":        {expression},
		"g0.tab":         {"graph"},
		"g0.end_input":   {end.UTC().Format(time.DateTime)},
		"g0.range_input": {seconds(length) + "s"},
		"g0.res_type":    {"fixed"},
		"g0.res_step":    {seconds(step)},
	}.Encode()
}

func (p *prometheus) close() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
	_ = os.RemoveAll(p.dir)
}
