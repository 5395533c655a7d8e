// SPDX-License-Identifier: Apache-2.0
// The live page: it listens to the stream, keeps what it hears, and draws it once a
// frame.

import * as format from './format.js';
import { parse } from './filter.js';
import { Store } from './store.js';
import { Tree, again } from './tree.js';
import { Detail } from './detail.js';
import { Plot, trend } from './plots.js';
import { draw as drawMap } from './map.js';

const $ = (id) => document.getElementById(id);
const store = new Store();
const detail = new Detail();
const tree = new Tree($('tree'), select);
const ioPlot = new Plot($('io-plot'), [['out', '--out'], ['in', '--in']], { height: 54, value: format.rate, mirrored: true });

let filter = null; // a test of rows, or null
let shownAt = null; // the time that is shown; null: now
let connected = false;
let fresh = false; // something came since the last drawing
let shownRows = [];

// ---- stream

function listen() {
  const stream = new EventSource('events?rows');
  const on = (name, take) => stream.addEventListener(name, (e) => { connected = true; take(JSON.parse(e.data)); later(); });
  on('full', (m) => { store.full(m); reselect(); fresh = true; });
  on('rows', (m) => { store.frame(m); fresh = true; detail.row = currentRow(detail.row) ?? detail.row; detail.note(m.t); });
  on('ended', (m) => store.happened(m));
  on('finding', (m) => { store.findings.push(m); if (store.findings.length > 100) store.findings.shift(); });
  stream.onopen = () => { connected = true; later(); };
  stream.onerror = () => {
    connected = false;
    later();
    // A browser gives up for good on an answer that is no stream, as a proxy's.
    if (stream.readyState === EventSource.CLOSED) { stream.close(); setTimeout(listen, 2000); }
  };
}

// ---- drawing

let asked = false;
function later() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; render(); });
}

function render() {
  banner();
  if (!store.status) return;
  const live = shownAt == null;
  const now = live ? store.time : shownAt;
  const rows = live ? [...store.slots.values()] : store.at(now);
  const ended = store.ended;
  shownRows = filter ? rows.filter(filter) : rows;
  tree.show(shownRows, filter ? ended.filter(filter) : ended, now, live && fresh);
  const nothing = !tree.flat.length;
  $('empty').hidden = !nothing;
  if (nothing) $('empty').textContent = rows.length ? 'No connection passes the filter.' : !live && now < store.first() ? 'Totals go back this far; connections are known since the page was opened.' : 'No connections.';
  totals(now, live);
  listeners();
  findings(now);
  drawMap($('map'), shownRows);
  detail.show(live, !!detail.row && !detail.row.ended && live && !store.byUid.has(detail.row.c.uid) || !!detail.row && !detail.row.ended && live && store.slots.get(detail.row.c.slot)?.uid !== detail.row.c.uid);
  scrubber(live);
  fresh = false;
}

function chip(text, kind, title) {
  const c = document.createElement('span');
  c.className = 'chip';
  if (kind) { const dot = document.createElement('i'); dot.className = 'dot ' + kind; c.append(dot); }
  c.append(text);
  if (title) c.title = title;
  return c;
}

const lacking = { rtt: 'no round trips', bytes: 'no bytes', closes: 'not the connections between two scrapes', processes: 'no processes' };

let bannerSays = '';
function banner() {
  const s = store.status;
  const chips = [];
  if (!connected) chips.push(s ? ['the collector does not answer: trying again', 'off'] : ['connecting…', 'half']);
  if (s) {
    $('host').textContent = s.host;
    document.title = `${s.host} · tcpstats`;
    const lacks = s.lacks.map((l) => lacking[l] ?? l).join(', ');
    chips.push([s.source ? `${s.source} · ${lacks || 'every connection'}` : 'no source', s.source && !lacks ? 'good' : 'half', 'The kernel interface in use, and what it cannot see']);
    chips.push([`scrape took ${s.took_ms < 10 ? s.took_ms.toFixed(1) : s.took_ms.toFixed(0)} ms${s.complete ? '' : ' · not complete'}`, s.complete ? '' : 'half']);
    if (s.unattributed) chips.push([`${format.count(s.unattributed)} without a process`, 'half', s.no_permission ? `${format.count(s.no_permission)} of them for want of permission` : 'Not found yet, or nobody holds them']);
    if (s.lost) chips.push([`${format.count(s.lost)} closes lost`, 'off', 'Notices that the kernel or the collector could not keep']);
    if (s.left) chips.push([`${format.count(s.left)} more not shown`, 'half']);
  }
  const says = JSON.stringify(chips.map((c) => c[0].replace(/took [\d.]+ ms/, 'took')));
  if (says !== bannerSays) { bannerSays = says; $('banner').replaceChildren(...chips.map((c) => chip(...c))); return; }
  chips.forEach((c, i) => { const t = $('banner').children[i].lastChild; if (t.data !== c[0]) t.data = c[0]; });
}

const stateOrder = ['established', 'close_wait', 'syn_sent', 'syn_received', 'fin_wait_1', 'fin_wait_2', 'last_ack', 'closing', 'time_wait'];

function totals(now, live) {
  const t = live ? store.history.at(-1) : store.totalsAt(now);
  if (!t) return;
  $('total').textContent = format.count(t.connections);
  const states = stateOrder.filter((s) => t.states[s]);
  $('states').textContent = states.map((s) => `${format.count(t.states[s])} ${s.replaceAll('_', '-')}`).join(' · ');
  const bar = $('statebar');
  if (!bar.children.length) for (const s of stateOrder) { const i = document.createElement('i'); i.className = s; bar.append(i); }
  stateOrder.forEach((s, i) => { bar.children[i].style.flexGrow = t.states[s] ?? 0; });
  $('opens').textContent = format.perSecond(t.opens);
  $('failures').textContent = t.failures ? ' · ' + format.perSecond(t.failures) : '';
  $('failed-by').textContent = t.failures ? Object.entries(t.failures_by).map(([k, v]) => `${format.words(k.replace('connection_', ''))} ${v.toFixed(1)}`).join(' · ') : `closed ${format.perSecond(t.closes)}`;
  $('rtt').textContent = format.time(t.rtt_p50_us);
  $('rtt-more').textContent = t.rtt_p50_us == null ? 'nothing moved since the last scrape' : `p99 ${format.time(t.rtt_p99_us)} · least ${format.time(t.rtt_least_us)}`;
  $('retransmitted').textContent = format.percent(t.retransmitted);
  $('retransmitted').classList.toggle('warn', t.retransmitted > 0.01);
  let lossy = 0;
  for (const r of shownRows) if (again(r) > 0.02) lossy++;
  $('retransmitted-more').textContent = lossy ? `${format.count(lossy)} connections above 2 %` : `${format.perSecond(t.retransmits)} segments`;
  $('out').textContent = format.rate(t.out) + ' out';
  $('in').textContent = format.rate(t.in) + ' in';
  const upTo = live ? store.history : store.history.filter((p) => p.t <= now);
  ioPlot.show([upTo.map((p) => p.t / 1000), upTo.map((p) => p.out), upTo.map((p) => -p.in)]);
  for (const canvas of document.querySelectorAll('[data-trend]')) trend(canvas, upTo);
}

function listeners() {
  const list = $('listeners');
  const merged = new Map();
  for (const [process, address, port, length, limit] of store.listeners) {
    const key = `${process}\0${address}\0${port}`;
    const m = merged.get(key);
    if (m) { m.length += length ?? 0; m.limit += limit ?? 0; m.n++; } else merged.set(key, { process, address, port, length, limit, n: 1 });
  }
  const all = [...merged.values()].sort((a, b) => (b.limit ? b.length / b.limit : 0) - (a.limit ? a.length / a.limit : 0)).slice(0, 200);
  while (list.children.length < all.length) {
    const li = document.createElement('li');
    li.append(...['b', 'span', 'div', 'span'].map((t) => document.createElement(t)));
    const meter = li.children[2];
    meter.className = 'queue';
    meter.role = 'meter';
    meter.ariaValueMin = '0';
    meter.append(document.createElement('i'));
    list.append(li);
  }
  while (list.children.length > all.length) list.lastChild.remove();
  all.forEach((l, i) => {
    const [name, where, meter, fill] = list.children[i].children;
    name.textContent = l.process || 'no process';
    where.textContent = format.endpoint(l.address, l.port) + (l.n > 1 ? ` × ${l.n}` : '');
    const part = l.limit ? Math.min(1, l.length / l.limit) : 0;
    meter.ariaLabel = `Accept queue of ${l.process || 'port'} ${l.port}`;
    meter.ariaValueNow = String(l.length ?? 0);
    meter.ariaValueMax = String(l.limit ?? 0);
    meter.dataset.worth = part >= 0.9 ? 'bad' : part >= 0.5 ? 'warn' : '';
    meter.firstChild.style.width = Math.max(part * 100, l.limit ? 0.8 : 0) + '%';
    fill.textContent = l.limit == null ? '–' : `${format.count(l.length)} / ${format.count(l.limit)}`;
  });
}

let findingsSay = '';
function findings(now) {
  const all = store.findings.filter((f) => Date.parse(f.time) <= now + 60_000).slice(-20).reverse();
  const says = JSON.stringify(all);
  if (says === findingsSay) return;
  findingsSay = says;
  $('findings').replaceChildren(...(all.length ? all.map((f) => {
    const li = document.createElement('li');
    li.className = f.severity === 'error' ? 'bad' : 'warn';
    const b = document.createElement('b'), span = document.createElement('span');
    b.textContent = f.title;
    span.textContent = `${f.detail}${f.detail ? ' · ' : ''}${format.clock(Date.parse(f.time))}`;
    li.append(b, span);
    return li;
  }) : [Object.assign(document.createElement('li'), { className: 'none', textContent: 'None so far.' })]));
}

// ---- selection

function currentRow(row) {
  if (!row || row.ended) return row;
  const c = store.slots.get(row.c.slot);
  return c && c.uid === row.c.uid ? c : store.ended.findLast((e) => e.c.id === row.c.id) ?? null;
}

function select(row) {
  tree.selected = row?.c.uid;
  detail.select(row);
  if (row && !row.ended && shownAt == null) detail.note(store.time);
  address();
  tree.draw();
  if (row) later();
}

let wanted = null; // the id of a connection that the address names
function reselect() {
  const id = detail.row?.c.id ?? wanted;
  wanted = null;
  if (!id) return;
  for (const c of store.slots.values()) if (c.id === id) { select(c); return; }
  const e = store.ended.findLast((x) => x.c.id === id);
  if (e) select(e);
}

$('close-detail').addEventListener('click', () => { select(null); $('tree').focus(); });

// ---- filter and address

function address() {
  const q = new URLSearchParams();
  if ($('filter').value.trim()) q.set('q', $('filter').value.trim());
  if (detail.row) q.set('connection', detail.row.c.id);
  const text = q.toString();
  history.replaceState(null, '', text ? '?' + text : location.pathname);
}

function applyFilter() {
  const note = $('filter-note');
  try {
    filter = parse($('filter').value);
    note.hidden = true;
    $('filter').ariaInvalid = 'false';
  } catch (e) {
    note.textContent = e.message;
    note.hidden = false;
    $('filter').ariaInvalid = 'true';
  }
  address();
  later();
}
$('filter').addEventListener('input', applyFilter);
$('search').addEventListener('submit', (e) => e.preventDefault());
document.addEventListener('keydown', (e) => {
  if (e.key === '/' && e.target !== $('filter') && !e.ctrlKey && !e.metaKey) { e.preventDefault(); $('filter').focus(); }
});

// ---- time

function goTo(t) {
  shownAt = t;
  const paused = t != null;
  $('pause').ariaPressed = String(paused);
  $('pause').textContent = paused ? 'Resume' : 'Pause';
  document.body.classList.toggle('paused', paused);
  later();
}

function scrubber(live) {
  const slider = $('scrub');
  const from = store.history[0]?.t ?? store.time;
  slider.min = Math.floor(from / 1000);
  slider.max = Math.ceil(store.time / 1000);
  if (live) slider.value = slider.max; else if (document.activeElement !== slider) slider.value = Math.round(shownAt / 1000);
  const back = (store.time - from) / 1000;
  $('scrub-from').textContent = back < 1 ? 'now' : format.duration(back).replace(/ 0\ss$/, '') + ' ago';
  const text = live ? 'now' : format.clock(shownAt);
  if ($('scrub-now').textContent !== text) $('scrub-now').textContent = text;
  slider.ariaValueText = live ? 'now' : `${text}, ${format.duration((store.time - shownAt) / 1000)} ago`;
}

$('pause').addEventListener('click', () => goTo(shownAt == null ? store.time : null));
$('scrub').addEventListener('input', (e) => {
  const t = Number(e.target.value);
  goTo(t >= Number(e.target.max) ? null : t * 1000 + 999);
});

// ---- copy

$('copy').addEventListener('click', async () => {
  const quote = (v) => /[",\n\r]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v;
  const lines = [['process', 'pid', 'role', 'state', 'local', 'peer', 'out_bytes_per_second', 'in_bytes_per_second', 'rtt_us', 'retransmits']];
  for (const r of shownRows) lines.push([r.c.process ?? '', r.c.pid ?? '', r.c.role, r.stateName, format.endpoint(r.c.local, r.c.localPort), format.endpoint(r.c.peer, r.c.peerPort), r.out, r.in, r.rtt ?? '', r.retr ?? '']);
  let said = 'Copied';
  try { await navigator.clipboard.writeText(lines.map((l) => l.map((v) => quote(String(v))).join(',')).join('\n') + '\n'); } catch { said = 'Not allowed'; }
  $('copy').textContent = said;
  setTimeout(() => { $('copy').textContent = 'Copy'; }, 1500);
});

// ---- start

const query = new URLSearchParams(location.search);
$('filter').value = query.get('q') ?? '';
wanted = query.get('connection');
if ($('filter').value) applyFilter();
addEventListener('resize', later);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', later);
listen();
