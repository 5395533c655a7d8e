// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// 1: the banner has the source, the host and what the scrape cost.
func TestBanner(t *testing.T) {
	p := page(t, "")
	host, err := os.Hostname()
	require.NoError(t, err)
	assert.Equal(t, host, p.text("host"))
	assert.Regexp(t, `(bpf|sock_diag|procfs|kmod|sysctl) · .*scrape took [\d.]+ ms`, p.text("banner"))
}

// 2: totals are those of the host, with their history.
func TestTotals(t *testing.T) {
	p := page(t, "")
	p.wait(`/[0-9]/.test(document.getElementById('rtt').textContent) && !document.getElementById('out').textContent.startsWith('0')`)
	assert.Regexp(t, `\d+ established`, p.text("states"))
	// Not every scrape has each of them.
	if strings.Contains(p.text("banner"), "every connection") {
		p.wait(`/refused \d/.test(document.getElementById('failed-by').textContent)`)
	}
	p.wait(`/p99 .* least/.test(document.getElementById('rtt-more').textContent)`)
	assert.Regexp(t, `%`, p.text("retransmitted"))
	p.wait(`document.querySelector('#io-plot canvas')?.width > 0`)
}

// 3: the tree has the processes with their connections; it sorts.
func TestTree(t *testing.T) {
	p := page(t, "?q=process:idler,shopper,shopdb,"+"crawler")
	p.wait(`[...document.querySelectorAll('#rows .row[data-kind=process]')].some(r => /^.?idlerclient → .*:54327/.test(r.querySelector('.name').textContent))`)
	p.click("process", "idler")
	p.wait(`document.querySelectorAll('#rows .row:not([hidden])[data-kind=row]').length === 7`)
	p.js(`(b => { b.click(); return 1; })(document.querySelector('[data-sort=name]'))`)
	assert.Equal(t, "ascending", p.js(`document.querySelector('[data-sort=name]').closest('[role=columnheader]').ariaSort`))
	names := p.js(`[...document.querySelectorAll('#rows .row:not([hidden])[data-kind=process]')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map(r => r.querySelector('b').textContent)`).([]any)
	require.GreaterOrEqual(t, len(names), 3)
	assert.True(t, slices.IsSortedFunc(names, func(a, b any) int { return cmp.Compare(a.(string), b.(string)) }), names)
	p.js(`(b => { b.click(); b.click(); return 1; })(document.querySelector('[data-sort=out]'))`)
	assert.Equal(t, "ascending", p.js(`document.querySelector('[data-sort=out]').closest('[role=columnheader]').ariaSort`))
	rows := p.rows("[data-kind=process]")
	assert.Contains(t, rows[len(rows)-1], "shop", "they send most")

	// By the keyboard alone: from the top to the first connection, and its detail.
	p.filter("process:idler role:client")
	p.wait(`document.querySelectorAll('#rows .row:not([hidden])').length === 8`)
	require.NoError(t, chromedp.Run(p.ctx, chromedp.Focus("#tree", chromedp.ByQuery), chromedp.KeyEvent(kb.Home)))
	p.wait(`document.getElementById(document.getElementById('tree').getAttribute('aria-activedescendant'))?.ariaRowIndex === '2'`)
	require.NoError(t, chromedp.Run(p.ctx, chromedp.KeyEvent(kb.ArrowLeft)))
	p.wait(`document.querySelectorAll('#rows .row:not([hidden])[data-kind=row]').length === 0`)
	require.NoError(t, chromedp.Run(p.ctx, chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter)))
	p.wait(`!document.getElementById('detail').hidden`)
}

// 4: the filter takes the words of the configuration, and the address has them.
func TestFilter(t *testing.T) {
	p := page(t, "")
	for words, want := range map[string][]string{
		"process:idler": {"idler"},
		"executables:idler states:established peer_ports:5432-5433": {"idler"},
		"process:/^idl/": {"idler"},
		"process:idler,shopper port:5432 state:established": {"idler", "shopper"},
		"idl -role:server": {"idler"},
		"process:idler peer:" + theStage.addresses.db + "/30": {"idler"},
		"process:idler peer:2001:db8::/32":                    nil,
		"process:idler rtt>50s":                               nil,
		"process:idler rtt<50s":                               {"idler"},
	} {
		p.filter(words)
		script := `JSON.stringify([...document.querySelectorAll('#rows .row:not([hidden])[data-kind=process] b')].map(b => b.textContent).sort())`
		all, err := json.Marshal(append([]string{}, want...))
		require.NoError(t, err)
		p.wait(script + fmt.Sprintf(` === %q`, all))
		assert.Equal(t, words, p.js(`new URLSearchParams(location.search).get('q')`))
		assert.Equal(t, true, p.js(`document.getElementById('filter-note').hidden`), words)
	}
	for words, says := range map[string]string{"procces:x": "is not known", "port:http": "takes a port", "rtt>5parsec": "takes us", "peer:10.0.0/8": "takes an address", "process:/(/": "regular expression"} {
		p.filter(words)
		p.wait(fmt.Sprintf(`document.getElementById('filter-note').textContent.includes(%q)`, says))
		assert.Equal(t, "true", p.js(`document.getElementById('filter').ariaInvalid`))
	}
	p.filter("process:idler role:client")
	shared := page(t, p.js(`location.search`).(string))
	assert.Equal(t, "process:idler role:client", shared.js(`document.getElementById('filter').value`))
	shared.wait(`document.querySelectorAll('#rows .row:not([hidden])[data-kind=process]').length === 1`)
}

// 5: the detail of a connection has what the processes know.
func TestDetail(t *testing.T) {
	p := page(t, "?q=process:idler role:client")
	p.click("process", "idler")
	p.click("row", ":5432")
	p.wait(`document.getElementById('facts').innerText.includes('Congestion window')`)
	facts := p.js(`Object.fromEntries([...document.querySelectorAll('#facts div')].map(d => [d.querySelector('dt').firstChild.data, d.querySelector('dd').textContent]))`).(map[string]any)
	assert.Equal(t, "4.3\u00a0kB · 4.3\u00a0kB", facts["Sent · acknowledged"])
	assert.Equal(t, "1.0\u00a0kB", facts["Received"])
	assert.Regexp(t, `(µs|ms)$`, facts["Round trip, now"])
	assert.Contains(t, p.text("detail-sub"), "established · client · local "+theStage.addresses.api)
	p.wait(`!!document.querySelector('#detail-io canvas')`)
	assert.NotEmpty(t, p.js(`new URLSearchParams(location.search).get('connection')`))
	shared := page(t, p.js(`location.search`).(string))
	shared.wait(`document.getElementById('facts').innerText.includes('Congestion window')`)

	busy := page(t, "?q=process:shopper role:client")
	busy.click("process", "shopper")
	busy.click("row", ":5432")
	busy.wait(`/limited .*by the network \d+/.test(document.getElementById('limited-text').textContent) || document.getElementById('facts').innerText !== '' && document.getElementById('limited').hidden && !document.getElementById('banner').textContent.match(/bpf|sock_diag/)`)
}

// 6: listeners show how full their queues are.
func TestListeners(t *testing.T) {
	p := page(t, "")
	p.wait(`[...document.querySelectorAll('#listeners li')].some(l => l.textContent.includes('sleepy') && l.textContent.includes('33 / 41'))`)
	assert.Equal(t, []any{"33", "41", "warn"}, p.js(`(m => [m.ariaValueNow, m.ariaValueMax, m.dataset.worth])([...document.querySelectorAll('#listeners li')].find(l => l.textContent.includes('sleepy')).querySelector('.queue'))`))
	assert.Contains(t, p.js(`document.querySelector('#listeners li').textContent`), "sleepy", "the fullest comes first")
}

// 7: the map joins processes with their peers.
func TestMap(t *testing.T) {
	p := page(t, "?q=process:shopper role:client")
	p.wait(`document.querySelectorAll('#map .edge').length === 1`)
	assert.Equal(t, []any{"shopper", theStage.addresses.db}, p.js(`[...document.querySelectorAll('#map .box text')].map(t => t.textContent)`))
	assert.Contains(t, p.js(`document.querySelector('#map .edge title').textContent`), "5 connections")
}

// 8: what has ended stays a while, with its cause.
func TestEnded(t *testing.T) {
	p := page(t, "?q=process:crawler,refused role:client")
	p.wait(`[...document.querySelectorAll('#rows .row[data-kind=end]')].some(r => /crawler.*(local close|ended|peer close)/.test(r.textContent))`)
	if strings.Contains(p.text("banner"), "every connection") {
		p.wait(`[...document.querySelectorAll('#rows .row[data-kind=end]')].some(r => /refused.*:8125.*connection refused/.test(r.textContent))`)
	}
	p.click("end", "crawler")
	p.wait(`!document.getElementById('detail').hidden && document.getElementById('detail-title').textContent.includes('crawler')`)
}

// 9: a pause holds the page, and the slider goes back in time.
func TestPauseAndScrub(t *testing.T) {
	p := page(t, "")
	p.filter("process:late")
	p.wait(`!document.getElementById('empty').hidden`)
	time.Sleep(2500 * time.Millisecond)
	late, err := theStage.play("late", "hold", theStage.addresses.api, theStage.addresses.db+":5432", "3", "5")
	require.NoError(t, err)
	defer late.end()
	shows := `document.querySelectorAll('#rows .row:not([hidden])[data-kind=process]').length`
	p.wait(shows + ` === 1`)
	p.js(`(b => { b.click(); return 1; })(document.getElementById('pause'))`)
	assert.Equal(t, "true", p.js(`document.getElementById('pause').ariaPressed`))
	p.wait(`document.getElementById('scrub-now').textContent !== 'now'`)
	at := p.text("scrub-now")
	late.end()
	time.Sleep(1500 * time.Millisecond)
	assert.EqualValues(t, 1, p.js(shows), "it is held")
	assert.Equal(t, at, p.text("scrub-now"))
	p.js(`(s => { s.value = Number(s.max) - 5; s.dispatchEvent(new Event('input', {bubbles: true})); return 1; })(document.getElementById('scrub'))`)
	p.wait(shows + ` === 0`)
	p.js(`(b => { b.click(); return 1; })(document.getElementById('pause'))`)
	assert.Equal(t, "false", p.js(`document.getElementById('pause').ariaPressed`))
	p.wait(`document.getElementById('scrub-now').textContent === 'now'`)
	p.wait(`[...document.querySelectorAll('#rows .row[data-kind=end]')].some(r => r.textContent.includes('late'))`)
}

// 10: CSV equals JSON equals what the processes know.
func TestFormats(t *testing.T) {
	page(t, "")
	text, err := theStage.get("connections.json")
	require.NoError(t, err)
	var objects []map[string]any
	require.NoError(t, json.Unmarshal(text, &objects))
	sent := func() (all []string) {
		for _, o := range objects {
			if o["process"] == "idler" && o["state"] == "established" {
				all = append(all, fmt.Sprint(o["role"], " ", o["bytes_sent"], " ", o["bytes_received"]))
			}
		}
		return all
	}
	assert.Equal(t, strings.Split(strings.Repeat("client 4321 1000,", 6)+"client 4321 1000", ","), sent())
	// Two scrapes may lie between: what does not change must be equal.
	text, err = theStage.get("connections.csv")
	require.NoError(t, err)
	records, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	require.NoError(t, err)
	column := make(map[string]int)
	for i, name := range records[0] {
		column[name] = i
	}
	n := 0
	for _, r := range records[1:] {
		for _, o := range objects {
			if o["id"] != r[column["id"]] || o["process"] != "idler" {
				continue
			}
			n++
			for _, name := range []string{"process", "role", "state", "local_address", "peer_address", "local_port", "bytes_sent", "bytes_received", "congestion_control"} {
				assert.Equal(t, fmt.Sprint(o[name]), r[column[name]], name)
			}
		}
	}
	assert.Equal(t, 7, n)
}

// A process's name is text, whatever it is.
func TestHostileName(t *testing.T) {
	p := page(t, "?q=onerror")
	p.wait(fmt.Sprintf(`[...document.querySelectorAll('#rows .row[data-kind=process] b')].some(b => b.textContent === %q)`, hostile))
	p.click("process", "onerror")
	p.click("row", ":5432")
	p.wait(`document.getElementById('detail-title').textContent.includes('onerror')`)
	p.wait(`[...document.querySelectorAll('#map text')].some(x => x.textContent.includes('<img'))`)
	assert.EqualValues(t, 0, p.js(`document.querySelectorAll('img').length`))
	assert.NotEqual(t, "owned", p.js(`document.title`))
}

// The collector may be restarted under the open page.
func TestRestart(t *testing.T) {
	p := page(t, "?q=process:idler role:client")
	p.click("process", "idler")
	theStage.stopCollector()
	p.wait(`document.getElementById('banner').textContent.includes('does not answer')`)
	require.NoError(t, theStage.startCollector())
	p.wait(`!document.getElementById('banner').textContent.includes('does not answer')`)
	p.wait(`document.querySelectorAll('#rows .row:not([hidden])[data-kind=row]').length === 7`)
	before := p.js(`document.getElementById('banner').textContent`)
	p.wait(fmt.Sprintf(`document.getElementById('banner').textContent !== %q`, before))
}

// Nothing is cut off at 360 px.
func TestNarrow(t *testing.T) {
	p := page(t, "")
	require.NoError(t, chromedp.Run(p.ctx, chromedp.EmulateViewport(360, 740)))
	p.wait(`innerWidth === 360`)
	p.click("process", "shopper")
	assert.EqualValues(t, 360, p.js(`document.documentElement.scrollWidth`))
	assert.Empty(t, p.js(`[...document.querySelectorAll('header *, main > * > *, .card *, #listeners *, footer *')].filter(e => e.checkVisibility() && !e.classList.contains('hidden') && e.getBoundingClientRect().right > 361).map(e => e.outerHTML.slice(0, 80))`))
}

// axe-core finds nothing serious, in the light and in the dark.
func TestAccessible(t *testing.T) {
	axe, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		if _, errNPM := exec.LookPath("npm"); errNPM != nil {
			t.Skip("axe-core is not there, nor npm to install it")
		}
		if out, err := exec.Command("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts").CombinedOutput(); err != nil {
			t.Skipf("axe-core cannot be installed: %v: %s", err, out)
		}
		axe, err = os.ReadFile("node_modules/axe-core/axe.min.js")
		require.NoError(t, err)
	}
	p := page(t, "?q=process:shopper role:client")
	p.click("process", "shopper")
	p.click("row", ":5432")
	p.wait(`document.getElementById('facts').innerText.includes('Congestion window')`)
	for _, scheme := range []string{"light", "dark"} {
		require.NoError(t, chromedp.Run(p.ctx, media(scheme)))
		var found string
		require.NoError(t, chromedp.Run(p.ctx, chromedp.Evaluate(string(axe)+`;1`, nil),
			chromedp.Evaluate(`axe.run().then(r => JSON.stringify(r.violations.filter(v => v.impact === 'serious' || v.impact === 'critical').map(v => [v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 140) + ' ' + n.failureSummary.slice(0, 200))])))`, &found, awaited)))
		assert.Equal(t, "[]", found, scheme)
	}
}
