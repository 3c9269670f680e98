"""A WebSocket echo server and a load generator, both on plain epoll, both run as programs.

    serve SOCKET PORT                    listen on a Unix socket and on 127.0.0.1:PORT
    load PORT PATH COOKIE N SECONDS      N sockets, each sends again when its echo has come
    hold PORT PATH COOKIE N              open N sockets, say so, hold them until stdin ends
    visit WHERE PATH N                   open N pages and sockets in turn, say so, close all in
                                         order at the next line, say so; WHERE is a port or a path

Messages have 64 bytes and a mask of zero, which is a legal one: nobody pays for masking here.
`load` checks every echo and prints JSON: messages, seconds, p50 and p99 in microseconds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import select
import socket
import sys
import time

SIZE = 64
PAYLOAD = bytes(range(SIZE))
ECHO = bytes([0x82, SIZE]) + PAYLOAD
MESSAGE = bytes([0x82, 0x80 | SIZE]) + bytes(4) + PAYLOAD
CLOSE = bytes([0x88, 0x82]) + bytes(4) + (1000).to_bytes(2, "big")
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def serve(path: str, port: int) -> None:
    """Echo until killed."""
    epoll = select.epoll()
    listeners = {}
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    os.chmod(path, 0o666)
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(("127.0.0.1", port))
    for sock in (unix, tcp):
        sock.listen(1024)
        sock.setblocking(False)
        listeners[sock.fileno()] = sock
        epoll.register(sock, select.EPOLLIN)
    peers: dict[int, socket.socket] = {}
    open_ones: set[int] = set()
    while True:
        for fd, _ in epoll.poll():
            if fd in listeners:
                accepted = listeners[fd].accept()[0]
                if accepted.family == socket.AF_INET:
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers[accepted.fileno()] = accepted
                epoll.register(accepted, select.EPOLLIN)
                continue
            sock = peers[fd]
            try:
                data = sock.recv(65536)
                if data == MESSAGE:
                    sock.send(ECHO)
                elif fd not in open_ones and b"\r\n\r\n" in data:
                    sock.send(_upgrade(data))
                    open_ones.add(fd)
                elif data[:1] == b"\x82":
                    raise SystemExit("a message came in pieces: this server is not made for that")
                else:  # the end, a close frame, or no WebSocket
                    raise OSError
            except OSError:
                del peers[fd]
                open_ones.discard(fd)
                sock.close()


def _upgrade(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            accept = base64.b64encode(hashlib.sha1(value.strip() + _MAGIC).digest())
            return (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
            )
    return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


def reach(where: int | str) -> socket.socket:
    """Connect to a port or to a Unix socket."""
    if isinstance(where, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(30)
        sock.connect(where)
        return sock
    sock = socket.create_connection(("127.0.0.1", where), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connect(where: int | str, path: str, cookie: str) -> socket.socket:
    """Open one WebSocket; ends the program where it is refused."""
    sock = reach(where)
    key = base64.b64encode(os.urandom(16)).decode()
    cookie_line = f"Cookie: {cookie}\r\n" if cookie else ""
    sock.sendall(
        (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n{cookie_line}\r\n"
        ).encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            break
        head += data
    if not head.startswith(b"HTTP/1.1 101"):
        raise SystemExit(f"no WebSocket at {where}: {head[:300]!r}")
    return sock


def load(port: int, path: str, cookie: str, count: int, seconds: float) -> None:
    """Ping-pong over `count` sockets."""
    socks = {}
    epoll = select.epoll()
    for _ in range(count):
        sock = connect(port, path, cookie)
        sock.setblocking(False)
        socks[sock.fileno()] = sock
        epoll.register(sock, select.EPOLLIN)
    clock = time.perf_counter
    begun = clock()
    sent = dict.fromkeys(socks, begun)
    waits: list[float] = []
    messages = 0
    for sock in socks.values():
        sock.send(MESSAGE)
    until = begun + seconds
    while (now := clock()) < until:
        for fd, _ in epoll.poll(1.0, 256):
            sock = socks[fd]
            data = sock.recv(4096)
            if data != ECHO:
                raise SystemExit(f"not the echo: {data[:80]!r}")
            messages += 1
            if messages & 15 == 0:
                waits.append(clock() - sent[fd])
            sent[fd] = clock()
            sock.send(MESSAGE)
    waits.sort()
    report = {
        "messages": messages,
        "seconds": now - begun,
        "p50": waits[len(waits) // 2] * 1e6,
        "p99": waits[len(waits) * 99 // 100] * 1e6,
    }
    print(json.dumps(report), flush=True)


def hold(port: int, path: str, cookie: str, count: int) -> None:
    """Open sockets, let each echo once, and keep them."""
    socks = [connect(port, path, cookie) for _ in range(count)]
    for sock in socks:
        sock.sendall(MESSAGE)
        if sock.recv(4096) != ECHO:
            raise SystemExit("not the echo")
    print("open", flush=True)
    sys.stdin.read()


def visit(where: int | str, path: str, count: int) -> None:
    """Let visitors come as browsers do: a page gives the cookie with which a socket is opened."""
    socks = [connect(where, f"{path}websocket/", page(where, path)) for _ in range(count)]
    print("open", flush=True)
    sys.stdin.readline()
    for sock in socks:
        sock.sendall(CLOSE)
    for sock in socks:
        while sock.recv(4096):
            pass
        sock.close()
    print("closed", flush=True)


def page(where: int | str, path: str) -> str:
    """Get a page and give the cookie that it sets; ends the program where there is no page."""
    with reach(where) as sock:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n"
        sock.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = b""
        while data := sock.recv(65536):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"no page at {where}: {answer[:300]!r}")
    for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name.lower() == b"set-cookie":
            return value.partition(b";")[0].decode()
    return ""


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    verb, *words = sys.argv[1:]
    if verb == "serve":
        serve(words[0], int(words[1]))
    elif verb == "load":
        load(int(words[0]), words[1], words[2], int(words[3]), float(words[4]))
    elif verb == "hold":
        hold(int(words[0]), words[1], words[2], int(words[3]))
    elif verb == "visit":
        visit(int(words[0]) if words[0].isdigit() else words[0], words[1], int(words[2]))
