#!/usr/bin/env python3
"""Makes the fixture of the sock_diag decoder: sockets in many states in a network
namespace, the dump of them, and what their process knows of them.

    unshare -n python3 make.py linux-<release>-<arch>

A new run has other inodes, ports and times; the tests read them from truth.json.
"""
import json, os, socket, struct, subprocess, sys, time
subprocess.check_call(['ip', 'link', 'set', 'lo', 'up'])
subprocess.check_call(['ip', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1'])
subprocess.check_call(['ip', 'link', 'set', 'd0', 'up'])
subprocess.check_call(['ip', 'link', 'set', 'd1', 'up'])
subprocess.check_call(['ip', 'addr', 'add', '10.9.8.1/24', 'dev', 'd0'])
subprocess.check_call(['ip', '-6', 'addr', 'add', 'fe80::9/64', 'dev', 'd0', 'nodad'])
time.sleep(0.2)
idx = socket.if_nametoindex('d0')
truth = []

def know(name, s, **kw):
    kw.update(name=name, local=list(s.getsockname()[:2]), inode=os.fstat(s.fileno()).st_ino, fd=s.fileno())
    try:
        kw['peer'] = list(s.getpeername()[:2])
    except OSError:
        pass
    truth.append(kw)


def listen(fam, addr, backlog=5, v6only=1):
    s = socket.socket(fam, socket.SOCK_STREAM)
    if fam == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    s.bind(addr)
    s.listen(backlog)
    return s


def pair(fam, l, addr):
    c = socket.socket(fam, socket.SOCK_STREAM)
    c.connect(addr)
    a, _ = l.accept()
    return (c, a)

keep = []
l4 = listen(socket.AF_INET, ('127.0.0.1', 4001))
keep.append(l4)
know('listen4', l4, state='listen', queue=0, backlog=5)
l6 = listen(socket.AF_INET6, ('::1', 6001))
keep.append(l6)
know('listen6', l6, state='listen', queue=0, backlog=5)
ld = listen(socket.AF_INET6, ('::', 4601), v6only=0)
keep.append(ld)
know('listendual', ld, state='listen', queue=0, backlog=5)
lq = listen(socket.AF_INET, ('127.0.0.1', 4002), backlog=7)
keep.append(lq)
for i in range(3):
    c = socket.socket()
    c.connect(('127.0.0.1', 4002))
    keep.append(c)

know('listenqueue', lq, state='listen', queue=3, backlog=7)
c, a = pair(socket.AF_INET, l4, ('127.0.0.1', 4001))
c.sendall(b'x' * 1000)
a.recv(1000, socket.MSG_WAITALL)
a.sendall(b'y' * 300)
c.recv(300, socket.MSG_WAITALL)
keep += [c, a]
know('established4client', c, state='established', sent=1000, received=300)
know('established4server', a, state='established', sent=300, received=1000)
c, a = pair(socket.AF_INET6, l6, ('::1', 6001))
c.sendall(b'x' * 777)
keep += [c, a]
time.sleep(0.05)
know('established6client', c, state='established', sent=777, received=0)
know('established6unread', a, state='established', sent=0, received=777, unread=777)
c, a = pair(socket.AF_INET, ld, ('127.0.0.1', 4601))
c.sendall(b'z' * 5)
a.recv(5)
keep += [c, a]
know('mappedserver', a, state='established', sent=0, received=5)
c, a = pair(socket.AF_INET, l4, ('127.0.0.1', 4001))
c.sendall(b'q' * 20)
a.recv(20)
c.shutdown(socket.SHUT_WR)
time.sleep(0.1)
keep += [c, a]
know('finwait2', c, state='fin_wait_2', sent=20, received=0, acked_known=20)
know('closewait', a, state='close_wait', sent=0, received=20)
c, a = pair(socket.AF_INET, l4, ('127.0.0.1', 4001))
c.close()
a.close()
time.sleep(0.1)
s = socket.socket()
s.setblocking(False)
s.connect_ex(('10.9.8.77', 9))
keep.append(s)
know('synsent', s, state='syn_sent')
ll = socket.socket(socket.AF_INET6)
ll.bind(('fe80::9', 6002, 0, idx))
ll.listen(4)
keep.append(ll)
c = socket.socket(socket.AF_INET6)
c.connect(('fe80::9', 6002, 0, idx))
a, _ = ll.accept()
keep += [c, a]
know('linklocal', c, state='established', sent=0, received=0)
time.sleep(0.1)
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
req = struct.pack('=IHHII', 76, 18, 769, 1, 0) + bytes([0, 0, 0, 1 << 1 | 1 << 6]) + b'\x00' * 48 + struct.pack('=II', 4095, 0)
n.send(req)
out = b''
grams = []
while True:
    g = n.recv(32768)
    grams.append(g)
    if struct.unpack_from('=H', g, 4)[0] == 3:
        break
    p = 0
    done = False
    while p < len(g):
        ln, ty = struct.unpack_from('=IH', g, p)
        if ty == 3:
            done = True
        p += ln + 3 & ~3
    if done:
        break

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
for i, g in enumerate(grams):
    with open(f'{folder}/dump.{i}.bin', 'wb') as f:
        f.write(g)

with open(f'{folder}/truth.json', 'w') as f:
    json.dump({'interface': 'd0', 'sockets': truth}, f, indent=1)
