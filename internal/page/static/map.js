// SPDX-License-Identifier: Apache-2.0
// The map: processes on the left, whom they talk to on the right, edges as wide as
// their traffic.

import * as format from './format.js';
import { again } from './tree.js';
import { address } from './filter.js';

const maxLeft = 8, maxRight = 10, space = 40, boxHeight = 24;
const ns = 'http://www.w3.org/2000/svg';

function networkOf(ip) {
  if (ip.includes(':')) {
    const b = address(ip);
    return b ? b.slice(0, 8).reduce((s, v, i) => s + (i % 2 ? v.toString(16).padStart(2, '0') : (i ? ':' : '') + v.toString(16)), '') + '::/64' : ip;
  }
  return ip.split('.').slice(0, 3).join('.') + '.0/24';
}

// draw shows rows; those that did nothing count as much as their number.
export function draw(svg, rows) {
  const perPeer = new Map();
  for (const r of rows) perPeer.set(r.c.peer, 1);
  const wide = perPeer.size > maxRight;
  const edges = new Map(), left = new Map(), right = new Map();
  for (const r of rows) {
    if (r.stateName === 'time_wait') continue;
    const from = r.c.process ?? 'no process';
    const to = wide ? networkOf(r.c.peer) : r.c.peer;
    const key = from + '\0' + to;
    let e = edges.get(key);
    if (!e) edges.set(key, e = { from, to, io: 0, n: 0, rtt: 0, rtts: 0, retr: 0, segs: 0 });
    const io = r.smooth;
    e.io += io; e.n++; e.retr += r.retr ?? 0; e.segs += r.segs ?? 0;
    if (r.rtt != null) { e.rtt += r.rtt; e.rtts++; }
    left.set(from, (left.get(from) ?? 0) + io + 1e-3);
    right.set(to, (right.get(to) ?? 0) + io + 1e-3);
  }
  const most = (m, n) => [...m].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, n).map(([k]) => k);
  const l = most(left, maxLeft), r = most(right, maxRight);
  const height = Math.max(60, Math.max(l.length, r.length) * space);
  const width = Math.max(240, svg.clientWidth || 360);
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.style.height = height + 'px';
  const boxWidth = Math.min(150, width * 0.38);
  const place = (list) => new Map(list.map((k, i) => [k, (i + 0.5) * height / list.length]));
  const yl = place(l), yr = place(r);
  const nodes = [];
  const shown = [...edges.values()].filter((e) => yl.has(e.from) && yr.has(e.to)).sort((a, b) => a.io - b.io);
  const widest = Math.max(1, ...shown.map((e) => e.io));
  for (const e of shown) {
    const y1 = yl.get(e.from), y2 = yr.get(e.to), x1 = boxWidth, x2 = width - boxWidth, mid = (x1 + x2) / 2;
    const path = el('path', { d: `M${x1} ${y1}C${mid} ${y1} ${mid} ${y2} ${x2} ${y2}`, 'stroke-width': (1.2 + 9 * Math.sqrt(e.io / widest)).toFixed(1) });
    const part = again(e), rtt = e.rtts ? e.rtt / e.rtts : null;
    path.setAttribute('class', part > 0.01 ? 'edge lossy' : rtt > 100_000 ? 'edge slow' : 'edge');
    path.append(title(`${e.from} and ${e.to}: ${format.count(e.n)} connections, ${format.rate(e.io)}, RTT ${format.time(rtt)}, ${format.percent(part)} retransmitted`));
    nodes.push(path);
  }
  const box = (name, x, y) => {
    const g = el('g', { class: 'box' });
    g.append(el('rect', { x, y: y - boxHeight / 2, width: boxWidth, height: boxHeight, rx: 12 }));
    const text = el('text', { x: x + 10, y: y + 4 });
    const fits = Math.floor((boxWidth - 16) / 6.1);
    text.textContent = name.length > fits ? name.slice(0, fits - 1) + '…' : name;
    g.append(text, title(name));
    nodes.push(g);
  };
  for (const [k, y] of yl) box(k, 0, y);
  for (const [k, y] of yr) box(k, width - boxWidth, y);
  svg.replaceChildren(...nodes);
}

function el(name, attributes) {
  const e = document.createElementNS(ns, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  return e;
}

function title(text) {
  const t = el('title', {});
  t.textContent = text;
  return t;
}
