"""Makes testdata/states: what /proc/net says of one socket or more in every state.

    unshare -n python3 make.py states

wants root for the namespace and for the sockets of another user. The ports say which
socket is which, in tcp6 with 10000 added; fixtureStates in sockets_test.go has the list.
"""
import os, socket, struct, subprocess, sys, time

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
keep = []  # closing a socket would change its state


def new(family):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    keep.append(s)
    return s


def listen(family, addr, port, backlog=8, defer=False, reuse=False):
    s = new(family)
    if reuse:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if defer:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
    s.bind((addr, port))
    s.listen(backlog)
    return s


def client(family, addr, port, source, wait=True):
    s = new(family)
    s.bind((addr, source))
    s.setblocking(wait)
    try:
        s.connect((addr, port))
    except BlockingIOError:
        pass
    s.setblocking(True)
    return s


def pair(family, addr, port, source):
    """A connection: (the end at port, the end at source)."""
    l = listen(family, addr, port)
    c = client(family, addr, port, source)
    s, _ = l.accept()
    keep.append(s)
    l.close()
    return s, c


def fill(s):
    """Writes until the peer's window is closed and some is left over."""
    s.setblocking(False)
    n = 0
    try:
        while n < 100000:
            n += s.send(b"x" * 10000)
    except BlockingIOError:
        pass
    s.setblocking(True)


for family, addr, wild, add in [(socket.AF_INET, "127.0.0.1", "0.0.0.0", 0), (socket.AF_INET6, "::1", "::", 10000)]:
    p = lambda n: n + add

    # LISTEN: of any address; two that share a port; one with a queue of 2 that is full, and
    # so a client in SYN_SENT; one of user 1000.
    listen(family, wild, p(1000))
    listen(family, addr, p(1001), reuse=True)
    listen(family, addr, p(1001), reuse=True)
    listen(family, addr, p(1002), backlog=1)
    for i in range(3):
        client(family, addr, p(1002), p(1100 + i), wait=False)
        time.sleep(0.1)
    os.seteuid(1000)
    listen(family, addr, p(2003))
    os.seteuid(0)

    # SYN_RECV: the server waits for data before it takes the connection.
    listen(family, addr, p(1004), defer=True)
    client(family, addr, p(1004), p(1104))

    # ESTABLISHED, with 5 bytes not read; and with a closed window.
    s, c = pair(family, addr, p(1010), p(1110))
    s.send(b"hello")
    s, c = pair(family, addr, p(1011), p(1111))
    fill(s)

    # FIN_WAIT2 and CLOSE_WAIT with 3 bytes and a FIN not read, then with the FIN read.
    s, c = pair(family, addr, p(1020), p(1120))
    s.send(b"bye")
    s.shutdown(socket.SHUT_WR)
    s, c = pair(family, addr, p(1021), p(1121))
    s.shutdown(socket.SHUT_WR)
    c.recv(1)

    # FIN_WAIT2 as a minisocket: the process has closed it.
    s, c = pair(family, addr, p(1022), p(1122))
    s.close()

    # FIN_WAIT1: the FIN waits behind data for which there is no window.
    s, c = pair(family, addr, p(1030), p(1130))
    fill(s)
    s.shutdown(socket.SHUT_WR)

    # CLOSING, and FIN_WAIT2: as above, and then the other end says FIN too.
    s, c = pair(family, addr, p(1040), p(1140))
    fill(s)
    s.shutdown(socket.SHUT_WR)
    c.shutdown(socket.SHUT_WR)

    # LAST_ACK, without a process: as above, but the other end said FIN first.
    s, c = pair(family, addr, p(1050), p(1150))
    fill(s)
    c.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    s.recv(1)
    s.close()

    # TIME_WAIT.
    s, c = pair(family, addr, p(1060), p(1160))
    s.close()
    time.sleep(0.1)
    c.recv(1)
    c.close()

# IPv4 through IPv6 sockets: a listener of ::ffff:127.0.0.1, a connection of it.
l = listen(socket.AF_INET6, "::ffff:127.0.0.1", 20000)
c = client(socket.AF_INET, "127.0.0.1", 20000, 20100)
keep.append(l.accept()[0])

# Counters: an attempt that fails, a connection reset, two segments with a wrong
# checksum, one whose header ends before it begins.
try:
    client(socket.AF_INET, "127.0.0.1", 9, 21000)
except ConnectionRefusedError:
    pass
s, c = pair(socket.AF_INET, "127.0.0.1", 21001, 21002)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for offset in [5, 5, 4]:
    raw.sendto(struct.pack("!HHIIBBHHH", 1, 2, 3, 4, offset << 4, 0, 0, 0, 0), ("127.0.0.1", 0))

time.sleep(0.5)
for name in ["tcp", "tcp6", "snmp", "netstat", "sockstat"]:
    with open("/proc/net/" + name, "rb") as f, open(os.path.join(sys.argv[1], name), "wb") as out:
        out.write(f.read())
