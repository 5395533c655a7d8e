// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// hostile is the name of a process that a page which takes names for HTML would run.
const hostile = `<img src=x onerror="document.title='owned'">`

// The browser and the stage that all tests share.
var (
	theBrowser context.Context
	theStage   *stage
	whyNot     error
)

func TestMain(m *testing.M) {
	if acted, err := act(); acted {
		exit(err)
	}
	code := 0
	if err := inOwnNetwork(func() error { code = run(m); return nil }); err != nil {
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	browser, closeBrowser, err := newBrowser(ctx)
	if err != nil {
		whyNot = err
		return m.Run()
	}
	defer closeBrowser()
	theBrowser = browser
	binary := os.Getenv("OTELCOL_TCPSTATS")
	if binary == "" {
		binary = "../../_build/otelcol-tcpstats"
	}
	if theStage, err = newStage(ctx, binary); err != nil {
		whyNot = err
		return m.Run()
	}
	defer theStage.close()
	if whyNot = setUp(theStage); whyNot != nil {
		fmt.Fprintln(os.Stderr, whyNot)
		return 1
	}
	return m.Run()
}

// setUp starts the cast that the tests know.
func setUp(s *stage) error {
	a := s.addresses
	s.interval = "250ms"
	for _, one := range []part{
		{"shopdb", []string{"serve", a.db + ":5432", "1000"}},
		{"idler", []string{"hold", a.api, a.db + ":5432", "7", "4321"}},
		{"shopper", []string{"ask", a.api, a.db + ":5432", "5", "2000", "50"}},
		{"crawler", []string{"visit", a.clients, a.db + ":5432", "1", "10", "300"}},
		{"refused", []string{"visit", a.api, a.reports + ":8125", "1", "1", "300"}},
		{"sleepy", []string{"neglect", a.db + ":6514", "40"}},
		{"logger", []string{"hold", a.api, a.db + ":6514", "33", "0"}},
		{hostile, []string{"hold", a.api, a.db + ":5432", "2", "10"}},
	} {
		if _, err := s.play(one.name, one.act...); err != nil {
			return err
		}
	}
	return s.startCollector()
}

// tab is an open page.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// open opens a page, with a query and in a size; what the page reports as an error
// fails the test.
func open(t *testing.T, url string, width, height int64) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(theBrowser)
	ctx, cancelTime := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(func() { cancelTime(); cancel() })
	chromedp.ListenTarget(ctx, func(e any) {
		if thrown, ok := e.(*runtime.EventExceptionThrown); ok {
			t.Errorf("the page throws: %s", thrown.ExceptionDetails.Error())
		}
	})
	p := &tab{t, ctx}
	require.NoError(t, chromedp.Run(ctx, chromedp.EmulateViewport(width, height), chromedp.Navigate(url)))
	return p
}

func page(t *testing.T, query string) *tab {
	t.Helper()
	if whyNot != nil {
		if errors.Is(whyNot, errNoBrowser) || errors.Is(whyNot, os.ErrNotExist) {
			t.Skip(whyNot)
		}
		t.Fatal(whyNot)
	}
	p := open(t, theStage.url()+query, 1480, 1100)
	p.wait(`document.querySelectorAll('#rows .row:not([hidden])').length > 0`)
	return p
}

// js evaluates an expression.
func (p *tab) js(expression string) any {
	p.t.Helper()
	var text string
	require.NoError(p.t, chromedp.Run(p.ctx, chromedp.Evaluate(`JSON.stringify((`+expression+`) ?? null)`, &text)), expression)
	var value any
	require.NoError(p.t, json.Unmarshal([]byte(text), &value))
	return value
}

func (p *tab) text(id string) string {
	p.t.Helper()
	return p.js(`document.getElementById('` + id + `').textContent`).(string)
}

// wait waits until an expression is true.
func (p *tab) wait(expression string) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if p.js(expression) == true {
			return
		}
		if time.Now().After(end) {
			require.FailNow(p.t, "it never holds", "%s\n%s", expression, p.js(`document.body.innerText`))
		}
	}
}

// filter types into the filter.
func (p *tab) filter(words string) {
	p.t.Helper()
	p.js(fmt.Sprintf(`(f => { f.value = %q; f.dispatchEvent(new Event('input', {bubbles: true})); return 1; })(document.getElementById('filter'))`, words))
}

// rows are the rows that are shown, as texts.
func (p *tab) rows(selector string) []string {
	p.t.Helper()
	var all []string
	for _, one := range p.js(`[...document.querySelectorAll('#rows .row:not([hidden])` + selector + `')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map(r => r.innerText.replace(/\s+/g, ' ').trim())`).([]any) {
		all = append(all, one.(string))
	}
	return all
}

// click clicks on the first row that has a text.
func (p *tab) click(kind, text string) {
	p.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll('#rows .row:not([hidden])[data-kind=%s]')].find(r => r.textContent.includes(%q))`, kind, text)
	p.wait(find + ` !== undefined`)
	p.js(`(r => { r.click(); return 1; })(` + find + `)`)
}

// awaited waits for a promise.
func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
