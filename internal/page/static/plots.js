// SPDX-License-Identifier: Apache-2.0
// Plots of what changes over time.

import * as format from './format.js';

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Plot is a uPlot that is made when it first has something to show, and anew when
// the colours change.
export class Plot {
  constructor(element, series, { height, value, mirrored = false, axes = false }) {
    Object.assign(this, { element, series, height, value, mirrored, axes });
    this.plot = null;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { this.plot?.destroy(); this.plot = null; if (this.data) this.show(this.data); });
    new ResizeObserver(() => this.resize()).observe(element);
  }

  resize() {
    const width = Math.floor(this.element.clientWidth);
    if (this.plot && width > 0) this.plot.setSize({ width, height: this.height });
  }

  show(data) {
    this.data = data;
    const width = Math.floor(this.element.clientWidth);
    if (!width || data[0].length < 2) return;
    if (this.plot) { this.plot.setData(data); return; }
    const soft = color('--muted');
    const axis = { stroke: soft, grid: { stroke: color('--line'), width: 1 }, ticks: { show: false }, font: '10px system-ui' };
    this.plot = new uPlot({
      width, height: this.height, legend: { show: false }, cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      padding: this.axes ? [6, 4, 0, 0] : [2, 0, 2, 0],
      scales: { x: { time: true }, y: { range: (u, low, high) => this.mirrored ? [Math.min(low ?? 0, -1), Math.max(high ?? 0, 1)] : [0, Math.max(high ?? 0, 1)] } },
      axes: this.axes
        ? [{ ...axis, grid: { show: false }, size: 20, space: 70, values: (u, ticks) => ticks.map((t) => format.clock(t * 1000).slice(0, 8)) }, { ...axis, size: 58, space: 22, values: (u, ticks) => ticks.map((v) => this.value(Math.abs(v))) }]
        : [{ show: false }, { show: false }],
      series: [{}, ...this.series.map(([label, name]) => ({ label, stroke: color(name), fill: color(name) + '22', width: 1.4, points: { show: false }, spanGaps: true }))],
    }, data, this.element);
  }

  clear() { this.plot?.destroy(); this.plot = null; this.data = null; }
}

// trend draws the totals of a card behind its numbers.
export function trend(canvas, history) {
  const key = canvas.dataset.trend;
  const scale = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (!w) return;
  canvas.width = w * scale; canvas.height = h * scale;
  const g = canvas.getContext('2d');
  g.setTransform(scale, 0, 0, scale, 0, 0);
  const values = history.map((p) => p[key]);
  let most = 0;
  for (const v of values) most = Math.max(most, v ?? 0);
  if (values.length < 2 || !most) return;
  g.beginPath();
  values.forEach((v, i) => { if (v != null) g.lineTo(i * w / (values.length - 1), h - 1 - v / most * (h - 3)); });
  g.strokeStyle = getComputedStyle(canvas).color;
  g.lineWidth = 1.2;
  g.stroke();
}
