// SPDX-License-Identifier: Apache-2.0
// The tree of processes, roles and ports, and connections. Only the rows in sight
// are in the document, so that fifty thousand scroll like fifty.

import * as format from './format.js';
import { Spark } from './store.js';

const rowHeight = 30;
const endedStay = 60_000; // ms
const endedShown = 500;

const sorts = {
  io: (a, b) => b.smooth - a.smooth,
  name: (a, b) => a.sortName < b.sortName ? -1 : a.sortName > b.sortName ? 1 : 0,
  out: (a, b) => (b.out ?? -1) - (a.out ?? -1),
  in: (a, b) => (b.in ?? -1) - (a.in ?? -1),
  rtt: (a, b) => (b.rtt ?? -1) - (a.rtt ?? -1),
  retr: (a, b) => (again(b) ?? -1) - (again(a) ?? -1),
};

// again is the part of the segments that was sent again.
export const again = (r) => r.segs ? Math.min(1, r.retr / r.segs) : null;

function median(list) {
  if (!list.length) return null;
  return list.sort((a, b) => a - b)[list.length >> 1];
}

class Node {
  constructor(key, level) { this.key = key; this.level = level; this.spark = new Spark(); this.smooth = 0; this.seen = 0; }
  begin(turn) { this.seen = turn; this.out = this.in = this.retr = this.segs = this.count = this.left = 0; this.rtts = []; this.rows = []; this.children = []; }
  add(r) {
    this.out += r.out; this.in += r.in; this.count++;
    if (r.stateName === 'time_wait') this.left++;
    if (r.segs != null) { this.retr += r.retr ?? 0; this.segs += r.segs; }
    if (r.rtt != null) this.rtts.push(r.rtt);
  }
  end(live) {
    this.rtt = median(this.rtts);
    if (live) {
      this.smooth = this.smooth * 0.7 + (this.out + this.in) * 0.3;
      this.spark.push(this.out + this.in);
    }
  }
}

export class Tree {
  constructor(element, onSelect) {
    this.element = element;
    this.body = element.querySelector('#rows');
    this.onSelect = onSelect;
    this.nodes = new Map();
    this.open = new Set(['ended']);
    this.pool = [];
    this.flat = [];
    this.sort = 'io';
    this.up = false;
    this.turn = 0;
    this.focus = -1;
    element.addEventListener('scroll', () => this.draw(), { passive: true });
    element.addEventListener('keydown', (e) => this.key(e));
    new ResizeObserver(() => this.draw()).observe(element);
    for (const b of element.querySelectorAll('[data-sort]')) b.addEventListener('click', () => this.sortBy(b.dataset.sort));
  }

  sortBy(key) {
    if (this.sort !== key) { this.sort = key; this.up = false; } else if (!this.up) this.up = true; else { this.sort = 'io'; this.up = false; }
    for (const b of this.element.querySelectorAll('[data-sort]')) {
      const on = b.dataset.sort === this.sort;
      b.closest('[role=columnheader]').ariaSort = on ? (this.up !== (this.sort === 'name') ? 'ascending' : 'descending') : 'none';
      b.dataset.way = on ? (this.up ? 'up' : 'down') : '';
    }
    this.flatten();
  }

  node(key, level) {
    let n = this.nodes.get(key);
    if (!n) this.nodes.set(key, n = new Node(key, level));
    if (n.seen !== this.turn) n.begin(this.turn);
    return n;
  }

  // show takes the rows that pass the filter. live says that they are newer than
  // those before, so that sparklines move on.
  show(rows, ended, now, live) {
    this.turn++;
    this.top = [];
    this.count = rows.length;
    for (const r of rows) {
      const name = r.c.process ?? '';
      const key = 'p' + name;
      const p = this.node(key, 1);
      if (!p.count) { this.top.push(p); p.name = name; p.sortName = name.toLowerCase(); }
      p.add(r);
      const port = r.c.role === 'server' ? r.c.localPort : r.c.peerPort;
      const g = this.node(`${key}\0${r.c.role}\0${port}`, 2);
      if (!g.count) { p.children.push(g); g.role = r.c.role; g.port = port; g.name = name; g.sortName = g.role + String(port).padStart(6); g.peers = new Set(); }
      g.add(r);
      if (g.peers.size < 2) g.peers.add(r.c.peerName || r.c.peer);
      g.rows.push(r);
    }
    for (const n of this.nodes.values()) {
      if (n.seen === this.turn) n.end(live);
      else if (live && this.turn - n.seen > 120) this.nodes.delete(n.key);
    }
    this.ended = ended.filter((e) => e.t <= now && e.t > now - endedStay).reverse();
    this.flatten();
  }

  flatten() {
    const by = sorts[this.sort];
    const order = (a, b) => (this.up ? -by(a, b) : by(a, b)) || (a.sortName < b.sortName ? -1 : 1);
    const flat = [];
    const connections = (g, level) => {
      for (const r of g.rows) r.sortName ??= (r.c.peerName || r.c.peer) + String(r.c.peerPort).padStart(6);
      g.rows.sort(order);
      g.rows.forEach((row, i) => flat.push({ kind: 'row', row, level, key: r(row), at: i + 1, of: g.rows.length }));
    };
    const r = (row) => 'c' + row.c.uid;
    const top = (this.top ?? []).sort(order);
    top.forEach((p, i) => {
      const only = p.children.length === 1 ? p.children[0] : null;
      const open = this.open.has(p.key);
      flat.push({ kind: 'process', node: p, only, level: 1, key: p.key, open, at: i + 1, of: top.length });
      if (!open) return;
      if (only) return connections(only, 2);
      p.children.sort(order).forEach((g, k) => {
        const open = this.open.has(g.key);
        flat.push({ kind: 'group', node: g, level: 2, key: g.key, open, at: k + 1, of: p.children.length });
        if (open) connections(g, 3);
      });
    });
    if (this.ended?.length) {
      const open = this.open.has('ended');
      flat.push({ kind: 'ended', level: 1, key: 'ended', open, at: top.length + 1, of: top.length + 1, n: this.ended.length });
      if (open) this.ended.slice(0, endedShown).forEach((row, i) => flat.push({ kind: 'end', row, level: 2, key: r(row), at: i + 1, of: Math.min(endedShown, this.ended.length) }));
    }
    this.flat = flat;
    this.element.ariaRowCount = flat.length + 1;
    this.body.style.height = flat.length * rowHeight + 'px';
    if (this.focusKey) this.focus = flat.findIndex((f) => f.key === this.focusKey);
    this.draw();
  }

  // draw fills the rows in sight.
  draw() {
    const head = this.body.offsetTop;
    const first = Math.max(0, Math.floor((this.element.scrollTop) / rowHeight) - 4);
    const last = Math.min(this.flat.length, Math.ceil((this.element.scrollTop + this.element.clientHeight - head) / rowHeight) + 4);
    while (this.pool.length < last - first) this.pool.push(this.newRow());
    for (let i = 0; i < this.pool.length; i++) {
      const el = this.pool[i];
      const at = first + i;
      if (at >= last) { el.hidden = true; continue; }
      el.hidden = false;
      this.fill(el, this.flat[at], at);
    }
    const focused = this.focus >= first && this.focus < last ? 'row-' + this.focus : '';
    if (focused) this.element.setAttribute('aria-activedescendant', focused); else this.element.removeAttribute('aria-activedescendant');
  }

  newRow() {
    const el = document.createElement('div');
    el.className = 'row';
    el.role = 'row';
    const cell = (name) => {
      const c = document.createElement('span');
      c.className = name;
      c.role = 'gridcell';
      el.append(c);
      return c;
    };
    const name = cell('name');
    const part = (tag, cls) => { const e = document.createElement(tag); e.className = cls; name.append(e); return e; };
    el.caret = part('i', 'caret'); el.caret.ariaHidden = 'true';
    el.strong = part('b', ''); el.muted = part('span', 'muted'); el.badge = part('span', 'badge');
    el.canvas = document.createElement('canvas');
    el.canvas.ariaHidden = 'true';
    cell('spark').append(el.canvas);
    el.out = cell('num'); el.in = cell('num'); el.rtt = cell('num rtt'); el.retr = cell('num retr');
    el.addEventListener('click', () => { this.move(el.at, false); this.act(); });
    this.body.append(el);
    return el;
  }

  fill(el, f, at) {
    el.at = at;
    el.id = 'row-' + at;
    el.style.transform = `translateY(${at * rowHeight}px)`;
    el.ariaRowIndex = at + 2;
    el.ariaLevel = f.level;
    el.ariaPosInSet = f.at;
    el.ariaSetSize = f.of;
    el.dataset.level = f.level;
    el.dataset.kind = f.kind;
    const folds = f.open !== undefined;
    el.ariaExpanded = folds ? String(f.open) : null;
    el.caret.textContent = folds ? (f.open ? '▾' : '▸') : '';
    const chosen = f.row && f.row.c.uid === this.selected;
    el.ariaSelected = String(!!chosen);
    el.classList.toggle('focus', at === this.focus);
    let strong, muted, badge = '', values = f.node ?? f.row ?? null;
    switch (f.kind) {
      case 'process':
        strong = f.node.name || 'no process';
        muted = f.node.left === f.node.count && !f.node.name ? 'what is left of connections, in time-wait' : f.only ? groupText(f.only) : `${f.node.children.length} services`;
        badge = format.count(f.node.count);
        break;
      case 'group':
        strong = groupText(f.node);
        muted = '';
        badge = format.count(f.node.count);
        break;
      case 'ended':
        strong = 'Ended';
        muted = 'in the last minute';
        badge = format.count(f.n);
        break;
      case 'end':
        strong = `${f.row.c.process ?? 'no process'} · ${format.peer(f.row.c)}`;
        muted = endText(f.row.ended);
        break;
      default:
        strong = format.peer(f.row.c);
        muted = format.words(f.row.stateName ?? '') + (f.row.c.role === 'client' ? ` from :${f.row.c.localPort}` : '');
    }
    set(el.strong, strong);
    set(el.muted, muted);
    set(el.badge, badge);
    el.badge.hidden = !badge;
    const ended = f.kind === 'end';
    set(el.out, values ? (ended ? format.bytes(values.out) : format.rate(values.out)) : '');
    set(el.in, values ? (ended ? format.bytes(values.in) : format.rate(values.in)) : '');
    set(el.rtt, values ? format.time(values.rtt) : '');
    const part = values ? again(values) : null;
    set(el.retr, values ? format.percent(part) : '');
    el.retr.dataset.worth = part > 0.02 ? 'bad' : part > 0.01 ? 'warn' : '';
    sparkline(el.canvas, values?.spark ?? null);
  }

  move(to, scroll = true) {
    this.focus = Math.max(0, Math.min(this.flat.length - 1, to));
    this.focusKey = this.flat[this.focus]?.key;
    if (scroll) {
      const head = this.body.offsetTop, y = this.focus * rowHeight;
      if (y < this.element.scrollTop) this.element.scrollTop = y;
      const bottom = y + rowHeight + head - this.element.clientHeight;
      if (bottom > this.element.scrollTop) this.element.scrollTop = bottom;
    }
    this.draw();
  }

  toggle(open) {
    const f = this.flat[this.focus];
    if (f?.open === undefined || f.open === open) return false;
    if (f.open) this.open.delete(f.key); else this.open.add(f.key);
    this.flatten();
    return true;
  }

  act() {
    const f = this.flat[this.focus];
    if (!f) return;
    if (f.row) this.onSelect(f.row); else this.toggle();
  }

  key(e) {
    if (e.target !== this.element || e.ctrlKey || e.metaKey || e.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / rowHeight) - 2);
    switch (e.key) {
      case 'ArrowDown': this.move(this.focus + 1); break;
      case 'ArrowUp': this.move(this.focus - 1); break;
      case 'PageDown': this.move(this.focus + page); break;
      case 'PageUp': this.move(this.focus - page); break;
      case 'Home': this.move(0); break;
      case 'End': this.move(this.flat.length - 1); break;
      case 'ArrowRight': if (!this.toggle(true)) this.move(this.focus + 1); break;
      case 'ArrowLeft': {
        if (this.toggle(false)) break;
        const level = this.flat[this.focus]?.level;
        let up = this.focus;
        while (up > 0 && this.flat[up].level >= level) up--;
        this.move(up);
        break;
      }
      case 'Enter': case ' ': this.act(); break;
      case 'Escape': this.onSelect(null); break;
      default: return;
    }
    e.preventDefault();
  }
}

function groupText(g) {
  if (g.role === 'server') return `server :${g.port}`;
  const to = g.peers.size === 1 ? format.endpoint([...g.peers][0], g.port) : `:${g.port}`;
  return g.role === 'client' ? `client → ${to}` : `↔ ${to}`;
}

function endText(m) {
  const how = m.failure ? format.words(m.failure) : m.cause === 'unknown' ? 'ended' : format.words(m.cause);
  return m.lasted_us == null ? how : `${how}, ${format.time(m.lasted_us)}`;
}

function set(el, text) { if (el.textContent !== text) el.textContent = text; }

// sparkline draws a ring of values.
function sparkline(canvas, spark) {
  const w = 84, h = 18, scale = devicePixelRatio || 1;
  if (canvas.width !== w * scale) { canvas.width = w * scale; canvas.height = h * scale; }
  const g = canvas.getContext('2d');
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, w, h);
  if (!spark?.any) return;
  let most = 1;
  const n = spark.values.length;
  for (let i = 0; i < n; i++) most = Math.max(most, spark.values[i]);
  const style = getComputedStyle(canvas);
  g.beginPath();
  const first = n - spark.filled;
  for (let i = first; i < n; i++) g.lineTo(i * w / (n - 1), h - 1.5 - spark.at(i) / most * (h - 3));
  g.strokeStyle = style.color;
  g.lineWidth = 1.3;
  g.stroke();
  g.lineTo(w, h); g.lineTo(first * w / (n - 1), h); g.closePath();
  g.globalAlpha = 0.13;
  g.fillStyle = style.color;
  g.fill();
  g.globalAlpha = 1;
}
