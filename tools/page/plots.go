// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	protocol "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// plot is a picture of a panel of a dashboard, plotted by Prometheus' own page.
type plot struct {
	name, dashboard, title string
	process, port          string // what a reader has chosen, if the dashboard asks
}

// plots are those in docs/dashboards.md.
func plots() []plot {
	return []plot{
		{name: "plot-bytes.png", dashboard: "host.json", title: "Bytes a second, by process"},
		{name: "plot-rtt.png", dashboard: "service.json", title: "Round-trip time: median, 90th and 99th percentile", process: "nginx", port: "443"},
		{name: "plot-retransmits.png", dashboard: "host.json", title: "Retransmitted segments, by process and port"},
		{name: "plot-opened-closed.png", dashboard: "service.json", title: "Opened and closed a second", process: "payments", port: "9443"},
		{name: "plot-accept-queues.png", dashboard: "host.json", title: "Accept queues"},
		{name: "plot-states.png", dashboard: "host.json", title: "Sockets per state"},
		{name: "plot-failures.png", dashboard: "host.json", title: "Failed attempts, by process, port and reason"},
	}
}

const (
	// plottedHost is the host's name in the plots: that of the machine is its owner's.
	plottedHost = "shop-1"
	// plotEvery is how often the collector writes.
	plotEvery = 2 * time.Second
	// plotLength is how much time a plot shows.
	plotLength = 3 * time.Minute
	// maxPlot is the most bytes of a plot.
	maxPlot = 120 << 10
)

// expression is what the panel asks, with what a reader of the dashboard has chosen.
func (p plot) expression(dashboards string) (string, error) {
	panel, err := readPanel(dashboards, p.dashboard, p.title)
	if err != nil {
		return "", err
	}
	variables := map[string]string{
		"host": plottedHost,
		// Grafana's rule: four times the interval of the data source.
		"__rate_interval": (4 * plotEvery).String(),
	}
	if p.process != "" {
		maps.Copy(variables, map[string]string{"process": p.process, "port": p.port})
	}
	return panel.expression(variables)
}

// takePlots runs the distribution over the demo load, with some troubles, and has
// Prometheus plot what it sends.
func takePlots(collector, binary, home, dashboards, out string) error {
	if os.Getenv(ownNetworkEnv) == "" {
		return errors.New("plots show a narrow link, which only root can make, in a network namespace of its own, on Linux")
	}
	ctx, cancel := context.WithTimeout(context.Background(), plotLength+5*time.Minute)
	defer cancel()
	p, err := startPrometheus(ctx, binary, home)
	if err != nil {
		return err
	}
	defer p.close()
	s, err := newStage(ctx, collector)
	if err != nil {
		return err
	}
	defer s.close()
	s.interval, s.otlp = plotEvery.String(), p.otlp()
	if err := layPath(s.addresses.clients); err != nil {
		return err
	}
	var checkout *actor
	for _, spec := range append(demo(s.addresses),
		part{"payments", []string{"dawdle", s.addresses.reports + ":9443", "400", "600", "50"}},
		part{"checkout", []string{"visit", s.addresses.api, s.addresses.reports + ":9443", "3", "300", "900"}},
	) {
		a, err := s.play(spec.name, spec.act...)
		if err != nil {
			return err
		}
		if slices.Equal(spec.act, checkoutAct(s.addresses)) {
			checkout = a
		}
	}
	if err := s.startCollector(); err != nil {
		return err
	}
	// Until then time_wait grows.
	time.Sleep(time.Minute)
	began := time.Now().Truncate(time.Second)
	for _, one := range scenes(s, checkout) {
		time.Sleep(time.Until(began.Add(one.from)))
		if err := one.begin(); err != nil {
			return err
		}
		time.Sleep(time.Until(began.Add(one.to)))
		if err := one.end(); err != nil {
			return err
		}
	}
	// What is plotted must have been sent, too.
	time.Sleep(time.Until(began.Add(plotLength + 2*plotEvery)))

	browser, closeBrowser, err := newBrowser(ctx)
	if err != nil {
		return err
	}
	defer closeBrowser()
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, one := range plots() {
		expression, err := one.expression(dashboards)
		if err != nil {
			return err
		}
		png, err := photograph(browser, p.graph(expression, began.Add(plotLength), plotLength, plotEvery))
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		if err := save(png, out, one.name, maxPlot); err != nil {
			return err
		}
	}
	return nil
}

// photograph takes a picture of the graph on Prometheus' page. An expression without an
// answer has no graph.
func photograph(browser context.Context, address string) ([]byte, error) {
	tab, closeTab := chromedp.NewContext(browser)
	defer closeTab()
	tab, cancel := context.WithTimeout(tab, 30*time.Second)
	defer cancel()
	var png []byte
	var clip protocol.Viewport
	err := chromedp.Run(tab,
		chromedp.EmulateViewport(1000, 900),
		media("light"),
		chromedp.Navigate(address),
		chromedp.WaitVisible(`.uplot canvas`, chromedp.ByQuery),
		// It is drawn anew once the page knows how wide it is.
		chromedp.Sleep(time.Second),
		chromedp.Evaluate(`(({x, y, width, height}) => ({x: x - 12, y: y - 8, width: width + 20, height: height + 16, scale: 1}))(document.querySelector('.uplot').getBoundingClientRect())`, &clip),
		chromedp.ActionFunc(func(ctx context.Context) (err error) {
			png, err = protocol.CaptureScreenshot().WithClip(&clip).WithCaptureBeyondViewport(true).Do(ctx)
			return err
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("no graph on %s: %w", address, err)
	}
	return png, nil
}

// save writes a picture that is not too large.
func save(png []byte, dir, name string, most int) error {
	png, err := shrink(png)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(png) > most {
		return fmt.Errorf("%s: %d bytes, more than %d", name, len(png), most)
	}
	if err := os.WriteFile(filepath.Join(dir, name), png, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d kB\n", name, len(png)/1000)
	return nil
}
