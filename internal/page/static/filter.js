// SPDX-License-Identifier: Apache-2.0
// The filter: words that must all hold, as in
//   process:curl port:443 state:established peer:10.0.0.0/8 rtt>50ms -role:server
// The words of the receiver's configuration (executables, states, local_ports,
// peer_ports, peer_cidrs) mean the same here.

const names = {
  process: 'process', executable: 'process', executables: 'process', pid: 'pid',
  user: 'owner', owner: 'owner', container: 'container', role: 'role', state: 'state', states: 'state',
  port: 'port', ports: 'port', local_port: 'local_port', local_ports: 'local_port', peer_port: 'peer_port', peer_ports: 'peer_port',
  peer: 'peer', peer_cidr: 'peer', peer_cidrs: 'peer', local: 'local', id: 'id',
};
const numbers = {
  rtt: { get: (r) => r.rtt, units: { us: 1, 'µs': 1, ms: 1e3, s: 1e6 }, bare: 1e3 },
  out: { get: (r) => r.out, units: { b: 1, kb: 1e3, mb: 1e6, gb: 1e9 }, bare: 1 },
  in: { get: (r) => r.in, units: { b: 1, kb: 1e3, mb: 1e6, gb: 1e9 }, bare: 1 },
  io: { get: (r) => r.out + r.in, units: { b: 1, kb: 1e3, mb: 1e6, gb: 1e9 }, bare: 1 },
  retrans: { get: (r) => r.segs ? r.retr / r.segs : null, units: { '%': 0.01 }, bare: 0.01 },
};
export const help = 'takes process, pid, user, container, role, state, port, local_port, peer_port, peer, local with “:”, and rtt, out, in, io, retrans with “>” or “<”';

// address returns an IP address as bytes, null if it is none.
export function address(text) {
  text = text.split('%')[0];
  if (/^\d+\.\d+\.\d+\.\d+$/.test(text)) {
    const parts = text.split('.').map(Number);
    return parts.every((n) => n < 256) ? parts : null;
  }
  if (!/^[0-9a-f:]+$/i.test(text) || !text.includes(':')) return null;
  const [head, tail, more] = text.split('::');
  if (more !== undefined) return null;
  const groups = (s) => s ? s.split(':') : [];
  const left = groups(head), right = tail === undefined ? [] : groups(tail);
  const gap = 8 - left.length - right.length;
  if (tail === undefined ? gap !== 0 : gap < 1) return null;
  const all = [...left, ...Array(gap).fill('0'), ...right].map((g) => parseInt(g, 16));
  return all.flatMap((n) => [n >> 8, n & 255]);
}

function network(text) {
  const [at, bits] = text.split('/');
  const want = address(at);
  if (!want) return null;
  const length = bits === undefined ? want.length * 8 : Number(bits);
  if (!(length >= 0 && length <= want.length * 8)) return null;
  return (other) => {
    const got = address(other);
    if (!got || got.length !== want.length) return false;
    for (let i = 0, left = length; left > 0; i++, left -= 8) {
      const mask = left >= 8 ? 255 : 256 - (1 << (8 - left));
      if ((got[i] & mask) !== (want[i] & mask)) return false;
    }
    return true;
  };
}

function ports(text) {
  const m = /^(\d+)(?:-(\d+))?$/.exec(text);
  if (!m) return null;
  const from = Number(m[1]), to = Number(m[2] ?? m[1]);
  return from <= to && to < 65536 ? (p) => p >= from && p <= to : null;
}

// memo remembers what a test said of a string: there are few addresses.
function memo(test) {
  const known = new Map();
  return (s) => {
    let is = known.get(s);
    if (is === undefined) known.set(s, is = test(s));
    return is;
  };
}

function pattern(text) {
  if (text.length > 2 && text.startsWith('/') && text.endsWith('/')) {
    const re = new RegExp(text.slice(1, -1));
    return memo((s) => re.test(s ?? ''));
  }
  return (s) => (s ?? '') === text;
}

function condition(key, text) {
  const bad = (takes) => { throw new Error(`${key}: got “${text}”, takes ${takes}`); };
  switch (key) {
    case 'process': { const p = pattern(text); return (r) => p(r.c.process); }
    case 'owner': { const p = pattern(text); return (r) => p(r.c.owner); }
    case 'container': return (r) => r.c.container.startsWith(text);
    case 'id': return (r) => r.c.id === text;
    case 'pid': return /^\d+$/.test(text) ? (r) => r.c.pid === Number(text) : bad('a number');
    case 'role': return /^(client|server)$/.test(text) ? (r) => r.c.role === text : bad('client or server');
    case 'state': { const s = text.replaceAll('-', '_').toLowerCase(); return (r) => r.stateName === s; }
    case 'port': case 'local_port': case 'peer_port': {
      const p = ports(text) ?? bad('a port or a range such as 8000-8999');
      if (key === 'local_port') return (r) => p(r.c.localPort);
      if (key === 'peer_port') return (r) => p(r.c.peerPort);
      return (r) => p(r.c.localPort) || p(r.c.peerPort);
    }
    default: {
      const n = memo(network(text) ?? bad('an address or a network such as 10.0.0.0/8'));
      return key === 'peer' ? (r) => n(r.c.peer) : (r) => n(r.c.local);
    }
  }
}

function comparison(word) {
  const m = /^([a-z]+)([<>]=?)([\d.]+)\s*([^\d\s/]*)(?:\/s)?$/i.exec(word);
  const of = m && numbers[m[1].toLowerCase()];
  if (!of) return null;
  const unit = m[4] === '' ? of.bare : of.units[m[4].toLowerCase()];
  if (unit === undefined) throw new Error(`${m[1]}: got the unit “${m[4]}”, takes ${Object.keys(of.units).join(', ')}`);
  const limit = Number(m[3]) * unit, more = m[2][0] === '>', same = m[2].length > 1;
  return (r) => {
    const v = of.get(r);
    return v != null && (v === limit ? same : more ? v > limit : v < limit);
  };
}

// parse returns a test of rows. It throws an Error that says which word it does not
// understand.
export function parse(text) {
  const tests = [];
  for (let word of text.match(/\S+/g) ?? []) {
    const not = word.length > 1 && word[0] === '-';
    if (not) word = word.slice(1);
    let test = comparison(word);
    if (!test) {
      const at = word.indexOf(':');
      const key = at > 0 && names[word.slice(0, at).toLowerCase()];
      if (key) {
        const any = word.slice(at + 1).split(',').filter((s) => s !== '');
        if (!any.length) continue; // still being typed
        const all = any.map((one) => condition(key, one));
        test = all.length === 1 ? all[0] : (r) => all.some((t) => t(r));
      } else if (/^[a-z_]+[:<>]/i.test(word) && !address(word.split('/')[0])) {
        throw new Error(`“${word}” is not known: the filter ${help}`);
      } else {
        const part = word.toLowerCase();
        test = (r) => r.c.text.includes(part);
      }
    }
    tests.push(not ? (r) => !test(r) : test);
  }
  return tests.length ? (r) => tests.every((t) => t(r)) : null;
}
