// SPDX-License-Identifier: Apache-2.0
// All that is known of one connection, each value with its unit and a word on what
// it means.

import * as format from './format.js';
import { Plot } from './plots.js';

const $ = (id) => document.getElementById(id);

// facts are [label, values, what it means]; one is left out if it has no value.
const facts = [
  ['Service', (c) => c.peer_name && c.peer_service, 'The peer’s, as the list of services has it'],
  ['Process at the other end', (c) => c.peer_process && `${c.peer_process} · pid ${c.peer_pid}`, 'It is on this host'],
  ['Behind the translation', (c) => c.peer_translated, 'Where the packets go instead of the peer’s address'],
  ['Country · network', (c) => (c.peer_country || c.peer_as_number) && [c.peer_country, c.peer_as_number && `AS${c.peer_as_number}`, c.peer_as_organization].filter(Boolean).join(' · '), 'Where the peer’s address is'],
  ['Round trip, now', (c) => c.rtt_us && format.time(c.rtt_us), 'Smoothed time from sending a segment to its acknowledgment'],
  ['Round trip, least', (c) => c.rtt_least_us && format.time(c.rtt_least_us), 'The least ever measured: the path without queues'],
  ['Queueing delay', (c) => c.rtt_us && c.rtt_least_us && format.time(Math.max(0, c.rtt_us - c.rtt_least_us)), 'Round trip less its least: time in queues on the way'],
  ['Round trip varies by', (c) => c.rtt_variation_us && format.time(c.rtt_variation_us), 'Mean deviation of the round trip'],
  ['Retransmission timeout', (c) => c.rto_us && format.time(c.rto_us), 'How long without an acknowledgment until a segment is sent again'],
  ['Congestion window', (c) => c.congestion_window != null && (c.send_mss ? `${format.count(c.congestion_window / c.send_mss)} × ${format.count(c.send_mss)} B` : format.bytes(c.congestion_window)), 'How much may be under way, as congestion control has it'],
  ['Slow start threshold', (c) => c.slow_start_threshold != null && format.bytes(c.slow_start_threshold), 'Below it the congestion window doubles each round trip'],
  ['Peer’s window', (c) => c.send_window != null && format.bytes(c.send_window), 'How much the peer takes: small means that it does not read'],
  ['Own window', (c) => c.receive_window != null && format.bytes(c.receive_window), 'How much this host offers to take'],
  ['Sent · acknowledged', (c) => c.bytes_sent != null && `${format.bytes(c.bytes_sent)} · ${format.bytes(c.bytes_acked)}`, 'Payload, what was sent again included'],
  ['Received', (c) => c.bytes_received != null && format.bytes(c.bytes_received), 'Payload'],
  ['Segments out · in', (c) => c.segments_sent != null && `${format.count(c.segments_sent)} · ${format.count(c.segments_received)}`, 'With and without payload'],
  ['Retransmitted', (c) => c.retransmits != null && `${format.count(c.retransmits)} segments` + (c.bytes_retransmitted != null ? ` · ${format.bytes(c.bytes_retransmitted)}` : '') + (c.segments_sent ? ` · ${format.percent(c.retransmits / c.segments_sent)}` : ''), 'Sent again because they seemed lost', (c) => c.segments_sent && c.retransmits / c.segments_sent > 0.01],
  ['… fast · timeout · probe', (c) => c.retransmits_fast != null && `${format.count(c.retransmits_fast)} · ${format.count(c.retransmits_timeout)} · ${format.count(c.retransmits_loss_probe)}`, 'What made TCP send them again'],
  ['Sent again in vain', (c) => c.spurious_retransmits != null && format.count(c.spurious_retransmits), 'The peer had them already'],
  ['Timeouts', (c) => c.timeouts != null && format.count(c.timeouts), 'Retransmission timeouts that ran out'],
  ['Thought lost now', (c) => c.lost_segments != null && format.count(c.lost_segments), 'Segments under way that seem lost', (c) => c.lost_segments > 0],
  ['Received out of order', (c) => c.out_of_order != null && format.count(c.out_of_order), 'Segments that came before those they follow'],
  ['Window closed', (c) => c.zero_windows != null && `${format.count(c.zero_windows)} times`, 'Times that this host’s window closed'],
  ['ECN marks out · in', (c) => c.delivered_ce != null && `${format.count(c.delivered_ce)} · ${format.count(c.received_ce)}`, 'Segments that routers marked as congested'],
  ['Waiting in the send buffer', (c) => c.send_buffer_usage != null && format.bytes(c.send_buffer_usage) + (c.send_buffer_limit ? ` of ${format.bytes(c.send_buffer_limit)}` : ''), 'Not acknowledged yet'],
  ['… never sent yet', (c) => c.unsent != null && format.bytes(c.unsent), 'Waits for a window'],
  ['Waiting to be read', (c) => c.receive_buffer_usage != null && format.bytes(c.receive_buffer_usage) + (c.receive_buffer_limit ? ` of ${format.bytes(c.receive_buffer_limit)}` : ''), 'The process has not read it yet'],
  ['Delivery rate', (c) => c.delivery_rate != null && format.rate(c.delivery_rate), 'How fast the path took data when last measured'],
  ['Pacing rate', (c) => c.pacing_rate != null && format.rate(c.pacing_rate), 'How fast congestion control lets segments go'],
  ['Segment size out · in', (c) => c.send_mss != null && `${format.bytes(c.send_mss)} · ${format.bytes(c.receive_mss)}`, 'Most payload of one segment'],
  ['Last sent · received', (c) => c.since_data_sent_us != null && `${format.time(c.since_data_sent_us)} · ${format.time(c.since_data_received_us)} ago`, 'When data last went each way'],
];

export class Detail {
  constructor() {
    this.element = $('detail');
    this.io = new Plot($('detail-io'), [['out', '--out'], ['in', '--in']], { height: 96, value: format.rate, mirrored: true, axes: true });
    this.rtt = new Plot($('detail-rtt'), [['rtt', '--slow']], { height: 70, value: format.time, axes: true });
    this.row = null;
  }

  select(row) {
    if (row?.c.uid !== this.row?.c.uid) { this.io.clear(); this.rtt.clear(); $('facts').replaceChildren(); this.rows = new Map(); $('limited').hidden = true; }
    this.row = row;
    this.element.hidden = !row;
  }

  // note remembers a point of each frame for the connection that is open.
  note(t) {
    const r = this.row;
    if (!r || r.ended) return;
    r.c.plot.push([t / 1000, r.out, -r.in, r.rtt]);
    if (r.c.plot.length > 1200) r.c.plot.shift();
  }

  async show(live, gone) {
    const row = this.row;
    if (!row) return;
    const c = row.c;
    $('detail-title').textContent = `${c.process ?? 'no process'} ↔ ${format.peer(c)}`;
    const parts = [];
    if (row.ended) parts.push(format.words(row.ended.failure ?? row.ended.cause) + (row.ended.lasted_us != null ? ` after ${format.time(row.ended.lasted_us)}` : ''));
    else if (gone) parts.push('has ended');
    else parts.push(format.words(row.stateName ?? ''));
    if (c.role) parts.push(c.role);
    if (c.peerName) parts.push('peer ' + format.endpoint(c.peer, c.peerPort));
    parts.push('local ' + format.endpoint(c.local, c.localPort));
    if (c.pid) parts.push(`pid ${c.pid}`);
    if (c.owner) parts.push(c.owner);
    if (c.container) parts.push(`container ${c.container.slice(0, 12)}`);
    if (c.congestion) parts.push(c.congestion);
    if (!c.process && c.reason) parts.push(`no process: ${format.words(c.reason)}`);
    $('detail-sub').textContent = parts.join(' · ');
    if (c.plot.length > 1) {
      this.io.show([c.plot.map((p) => p[0]), c.plot.map((p) => p[1]), c.plot.map((p) => p[2])]);
      this.rtt.show([c.plot.map((p) => p[0]), c.plot.map((p) => p[3])]);
    }
    if (row.ended) {
      const m = row.ended;
      this.fill({ bytes_sent: m.bytes_sent, bytes_received: m.bytes_received, retransmits: m.retransmits, rtt_us: m.rtt_us });
      return;
    }
    if (!live || gone || this.asking) return;
    this.asking = true;
    try {
      const answer = await fetch('connections.json?id=' + encodeURIComponent(c.id));
      const [all] = answer.ok ? await answer.json() : [];
      if (all && this.row?.c.uid === c.uid) { this.fill(all); this.limited(all); }
    } catch { /* the stream says that the collector is gone */ } finally { this.asking = false; }
  }

  fill(all) {
    for (const [label, value, meaning, bad] of facts) {
      const text = value(all);
      let pair = this.rows.get(label);
      if (!text) { if (pair) pair.hidden = true; continue; }
      if (!pair) {
        pair = document.createElement('div');
        const dt = document.createElement('dt'), dd = document.createElement('dd');
        dt.textContent = label;
        pair.title = meaning;
        const more = document.createElement('small');
        more.textContent = meaning;
        dt.append(more);
        pair.append(dt, dd);
        this.rows.set(label, pair);
        $('facts').append(pair);
      }
      pair.hidden = false;
      const dd = pair.lastChild;
      if (dd.textContent !== text) dd.textContent = text;
      dd.className = bad?.(all) ? 'bad' : '';
    }
  }

  // limited shows what held the sender back. How long a connection is open is known
  // of those that were seen to open; of the others only the time with something to
  // send is.
  limited(all) {
    const open = all.age_us ?? (all.is_new ? (Date.now() - Date.parse(all.first_seen)) * 1e3 : null);
    const busy = all.busy_us;
    $('limited').hidden = busy == null || !(open > 0 || busy > 0);
    if ($('limited').hidden) return;
    const receiver = all.limited_by_receiver_us ?? 0, buffer = all.limited_by_send_buffer_us ?? 0;
    const whole = Math.max(open ?? 0, busy);
    const parts = [
      ['network', Math.max(0, busy - receiver - buffer), 'by the network'], ['receiver', receiver, 'by the peer’s window'],
      ['buffer', buffer, 'by the send buffer'], ['idle', whole - busy, 'idle'],
    ];
    const bar = $('limited-bar');
    if (!bar.children.length) for (const [name] of parts) { const i = document.createElement('i'); i.className = name; bar.append(i); }
    parts.forEach(([, v], i) => { bar.children[i].style.flexGrow = v / whole; });
    const shares = parts.filter(([, v]) => v / whole >= 0.005).map(([, v, text]) => `${text} ${(100 * v / whole).toFixed(0)} %`).join(' · ');
    $('limited-text').textContent = (open != null ? `open for ${format.duration(open / 1e6)}` : `${format.duration(busy / 1e6)} with something to send`) + ` · limited ${shares}`;
  }
}
