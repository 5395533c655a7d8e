// SPDX-License-Identifier: Apache-2.0

// Command page takes the screenshots of the live page that are in docs/: it runs the
// distribution over a bounded demo load of real connections and opens the page in
// Chromium.
//
//	go run . -collector ../../_build/otelcol-tcpstats -out ../../docs/images
//
// With -prometheus it takes pictures of the dashboards' panels instead, as Prometheus'
// own page plots them; `make plots` has all its flags.
//
// As root it does so in a network namespace of its own, with addresses as a service
// has them; otherwise on the loopback addresses of the host. Its tests are those of
// the page in a real browser. It is a module of its own, so that what drives the
// browser is not among what the receiver needs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/chromedp/chromedp"
)

func main() {
	if acted, err := act(); acted {
		exit(err)
	}
	collector := flag.String("collector", "../../_build/otelcol-tcpstats", "the distribution")
	out := flag.String("out", "../../docs/images", "where the pictures go")
	warm := flag.Duration("warm", 25*time.Second, "how long the load runs before the first picture")
	binary := flag.String("prometheus", "", "a Prometheus server: take pictures of its plots instead of the live page")
	home := flag.String("ui", "", "with -prometheus: the folder in which it finds its pages, which tools/prometheus/ui.sh builds")
	dashboards := flag.String("dashboards", "../../examples/grafana", "with -prometheus: the dashboards whose panels it plots")
	flag.Parse()
	exit(inOwnNetwork(func() error {
		if *binary != "" {
			return takePlots(*collector, *binary, *home, *dashboards, *out)
		}
		return screenshots(*collector, *out, *warm)
	}))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "page:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// picture is one screenshot.
type picture struct {
	name          string
	width, height int64
	dark          bool
	query         string
	before        []chromedp.Action
}

// maxPicture is the most bytes of a picture.
const maxPicture = 200 << 10

func screenshots(collector, out string, warm time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), warm+4*time.Minute)
	defer cancel()
	s, err := newStage(ctx, collector)
	if err != nil {
		return err
	}
	defer s.close()
	for _, spec := range demo(s.addresses) {
		if _, err := s.play(spec.name, spec.act...); err != nil {
			return err
		}
	}
	if err := s.startCollector(); err != nil {
		return err
	}
	browser, closeBrowser, err := newBrowser(ctx)
	if err != nil {
		return err
	}
	defer closeBrowser()
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	// What reports reads: few connections, with much to see in each.
	open := chromedp.Evaluate(`[...document.querySelectorAll('#rows .row:not([hidden])[data-kind=process]')].find(r => r.textContent.includes('reports'))?.click(); 1`, nil)
	choose := chromedp.Evaluate(`(document.querySelector('#rows .row:not([hidden])[data-kind=row]') ?? document.querySelector('#rows .row')).click(); document.activeElement.blur(); 1`, nil)
	for _, p := range []picture{
		{name: "page-light.png", width: 1480, height: 1120, before: []chromedp.Action{open, choose}},
		{name: "page-dark.png", width: 1480, height: 1120, dark: true, before: []chromedp.Action{open, choose}},
		{name: "page-phone.png", width: 360, height: 780},
	} {
		scheme := "light"
		if p.dark {
			scheme = "dark"
		}
		tab, closeTab := chromedp.NewContext(browser)
		actions := []chromedp.Action{
			chromedp.EmulateViewport(p.width, p.height),
			media(scheme),
			chromedp.Navigate(s.url() + p.query),
			chromedp.WaitVisible(`#rows .row`, chromedp.ByQuery),
		}
		actions = append(actions, p.before...)
		var png []byte
		actions = append(actions, chromedp.Sleep(warm), chromedp.CaptureScreenshot(&png))
		err := chromedp.Run(tab, actions...)
		closeTab()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := save(png, out, p.name, maxPicture); err != nil {
			return err
		}
	}
	return nil
}
