// SPDX-License-Identifier: Apache-2.0
// What the page knows: the connections that live, those that ended lately, and the
// history to go back in. It hears of changes alone, as the server sends them.

const maxChanges = 1_000_000; // in the history: about 60 MB
const maxEnded = 2000;
const sparkLength = 60;

// Spark is a ring of the last values.
export class Spark {
  constructor() { this.values = new Float32Array(sparkLength); this.next = 0; this.filled = 0; this.any = false; }
  push(v) {
    this.filled = Math.min(sparkLength, this.filled + 1);
    this.values[this.next] = v;
    this.next = (this.next + 1) % sparkLength;
    this.any ||= v > 0;
  }
  at(i) { return this.values[(this.next + i) % sparkLength]; }
}

const width = 7; // uid, state, out, in, rtt, retr, segs

export class Store {
  constructor() { this.reset(); }

  reset() {
    this.states = [];
    this.slots = new Map(); // slot → live connection
    this.byUid = new Map();
    this.nextUid = 1;
    this.frames = []; // {t, changes: Float64Array, gone: [uid]}
    this.changes = 0;
    this.base = new Map(); // uid → values, before the first frame
    this.history = []; // totals
    this.ended = [];
    this.endedKeys = new Set();
    this.findings = [];
    this.listeners = [];
    this.status = null;
    this.opened = Date.now();
  }

  // full takes everything, when the page is opened or has missed something. What it
  // knew of the same connections stays.
  full(m) {
    const old = this.byUid, oldFrames = this.epoch === m.epoch;
    const known = new Map();
    if (oldFrames) for (const c of this.slots.values()) known.set(c.id, c);
    const ended = oldFrames ? this.ended : [];
    const opened = this.epoch ? this.opened : Date.now();
    this.reset();
    this.opened = opened;
    this.epoch = m.epoch;
    this.states = m.states;
    this.history = m.history ?? [];
    this.findings = m.findings;
    for (const e of ended) this.addEnded(e);
    for (const e of m.ended) this.addEnded(endedOf(e));
    this.known = known;
    this.frame(m);
    this.known = null;
    old.clear();
  }

  frame(m) {
    this.time = m.t;
    this.status = m.status;
    this.listeners = m.listeners;
    if (m.totals && m.totals.t !== this.history.at(-1)?.t) this.history.push(m.totals);
    const from = m.t - (this.status.history || 600) * 1000;
    while (this.history.length && this.history[0].t < from) this.history.shift();
    const gone = [];
    for (const b of m.born) {
      const before = this.slots.get(b[0]);
      if (before && before.id === b[1]) { assign(before, b); continue; } // its process is known now
      if (before) gone.push(before.uid);
      const c = assign({ uid: this.nextUid++, out: 0, in: 0, rtt: null, retr: null, segs: null, state: 0, smooth: 0, spark: null, plot: [] }, b);
      const was = this.known?.get(c.id);
      if (was) { c.spark = was.spark; c.plot = was.plot; c.smooth = was.smooth; }
      c.c = c;
      this.slots.set(c.slot, c);
      this.byUid.set(c.uid, c);
    }
    const changes = new Float64Array(m.rows.length * width);
    let n = 0;
    for (const r of m.rows) {
      const c = this.slots.get(r[0]);
      if (!c) continue;
      [, c.state, c.out, c.in, c.rtt, c.retr, c.segs] = r;
      c.stateName = this.states[c.state];
      changes[n] = c.uid;
      for (let i = 1; i < width; i++) changes[n + i] = r[i] ?? NaN;
      n += width;
    }
    for (const slot of m.gone) {
      const c = this.slots.get(slot);
      if (!c) continue;
      gone.push(c.uid);
      this.slots.delete(slot);
    }
    for (const c of this.slots.values()) {
      const io = c.out + c.in;
      c.smooth = c.smooth * 0.7 + io * 0.3;
      if (io > 0 && !c.spark) c.spark = new Spark();
      c.spark?.push(io);
    }
    this.frames.push({ t: m.t, changes: changes.subarray(0, n), gone });
    this.changes += n / width + gone.length;
    while (this.frames.length > 1 && (this.frames[0].t < from || this.changes > maxChanges)) this.dropFrame();
  }

  dropFrame() {
    const f = this.frames.shift();
    this.changes -= f.changes.length / width + f.gone.length;
    apply(this.base, f);
    for (const uid of f.gone) this.byUid.delete(uid);
  }

  addEnded(e) {
    if (this.endedKeys.has(e.key)) return;
    this.endedKeys.add(e.key);
    this.ended.push(e);
    if (this.ended.length > maxEnded) this.endedKeys.delete(this.ended.shift().key);
  }

  happened(m) {
    const e = endedOf(m);
    const c = this.slots.get(m.slot);
    if (c && c.id === m.id) { e.c.container = c.container; e.spark = c.spark; e.c.plot = c.plot; }
    this.addEnded(e);
  }

  // first is the oldest time that can be shown with its connections.
  first() { return this.frames[0]?.t ?? this.time; }

  // at returns the rows as they were.
  at(t) {
    const values = new Map(this.base);
    for (const f of this.frames) {
      if (f.t > t) break;
      apply(values, f);
    }
    const rows = [];
    const known = (v) => Number.isNaN(v) ? null : v;
    for (const [uid, v] of values) {
      const c = this.byUid.get(uid);
      if (c) rows.push({ c, state: v[1], stateName: this.states[v[1]], out: v[2], in: v[3], rtt: known(v[4]), retr: known(v[5]), segs: known(v[6]), smooth: v[2] + v[3], spark: null });
    }
    return rows;
  }

  totalsAt(t) {
    let found = this.history[0] ?? null;
    for (const p of this.history) { if (p.t > t) break; found = p; }
    return found;
  }
}

function apply(values, frame) {
  for (let i = 0; i < frame.changes.length; i += width) values.set(frame.changes[i], frame.changes.subarray(i, i + width));
  for (const uid of frame.gone) values.delete(uid);
}

function assign(c, b) {
  [c.slot, c.id, c.process, c.pid, c.owner, c.container, c.role, c.local, c.localPort, c.peer, c.peerPort, c.congestion, c.namespace, c.firstSeen, c.reason, c.peerName] = b;
  c.text = `${c.process ?? ''} ${c.pid ?? ''} ${c.owner} ${c.local} ${c.localPort} ${c.peer} ${c.peerName} ${c.peerPort} ${c.role}`.toLowerCase();
  return c;
}

// endedOf makes a row of the event of an end.
function endedOf(m) {
  const c = {
    uid: 'e' + m.id + m.time, slot: m.slot, id: m.id, process: m.process ?? null, pid: m.pid ?? null, owner: '', container: '', role: m.role,
    local: m.local_address, localPort: m.local_port, peer: m.peer_address, peerPort: m.peer_port, peerName: m.peer_name ?? '', congestion: '', namespace: 0, plot: [],
  };
  c.text = `${c.process ?? ''} ${c.pid ?? ''} ${c.local} ${c.localPort} ${c.peer} ${c.peerName} ${c.peerPort} ${c.role}`.toLowerCase();
  return {
    c, key: c.uid, ended: m, t: Date.parse(m.time), stateName: 'ended', state: -1, out: m.bytes_sent ?? null, in: m.bytes_received ?? null,
    rtt: m.rtt_us ?? null, retr: m.retransmits ?? null, segs: null, smooth: 0, spark: null,
  };
}
