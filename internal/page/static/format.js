// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them. null is not known, and shown as a dash.

const dash = '–';

function significant(v) {
  if (v === 0) return '0';
  return v < 9.95 ? v.toFixed(1) : v.toFixed(0);
}

function scaled(v, step, units) {
  let i = 0;
  while (v >= step * 0.9995 && i < units.length - 1) { v /= step; i++; }
  return (i === 0 ? Math.round(v).toString() : significant(v)) + '\u00a0' + units[i];
}

export const bytes = (v) => v == null ? dash : scaled(v, 1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']);
export const rate = (v) => v == null ? dash : bytes(v) + '/s';
export const count = (v) => v == null ? dash : Math.round(v).toLocaleString('en');

// perSecond shows how often something happens.
export const perSecond = (v) => v == null ? dash : (v === 0 ? '0' : v < 9.95 ? v.toFixed(1) : Math.round(v).toLocaleString('en')) + '/s';

// time takes microseconds.
export function time(us) {
  if (us == null) return dash;
  if (us < 1000) return Math.round(us) + '\u00a0µs';
  if (us < 1e6) return significant(us / 1e3) + '\u00a0ms';
  return duration(us / 1e6);
}

// duration takes seconds.
export function duration(s) {
  if (s == null || Number.isNaN(s)) return dash;
  if (s < 1) return s.toFixed(2) + '\u00a0s';
  if (s < 60) return significant(s) + '\u00a0s';
  if (s < 3600) return Math.floor(s / 60) + '\u00a0min ' + Math.floor(s % 60) + '\u00a0s';
  if (s < 86400) return Math.floor(s / 3600) + '\u00a0h ' + Math.floor(s % 3600 / 60) + '\u00a0min';
  return Math.floor(s / 86400) + '\u00a0d ' + Math.floor(s % 86400 / 3600) + '\u00a0h';
}

export function percent(part) {
  if (part == null) return dash;
  const v = part * 100;
  return (v === 0 ? '0.0' : v < 0.1 ? v.toFixed(2) : v.toFixed(1)) + '\u00a0%';
}

// words turns a value of an attribute into text: peer_reset is "peer reset".
export const words = (s) => s === '_OTHER' ? 'other' : s.replaceAll('_', ' ');

// endpoint writes an address and a port.
export const endpoint = (address, port) => (address.includes(':') ? `[${address}]` : address) + ':' + port;
// peer writes the other end of a connection, by its name if it has one.
export const peer = (c) => endpoint(c.peerName || c.peer, c.peerPort);
export const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');
