import os
import socket
import threading

import shiny  # noqa: F401

OK = b"HTTP/1.1 200 OK\r\n"
POISON = OK + b"Content-Length: 8\r\n\r\npoisoned"
ANSWERS = {
    "good": OK + b"Content-Length: 2\r\n\r\nok",
    "noise": os.urandom(2000),
    "nothing": b"",
    "half-a-head": OK + b"Content-Le",
    "two-lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "length-and-chunks": OK
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "negative-length": OK + b"Content-Length: -2\r\n\r\nok",
    "gzip-coding": OK + b"Transfer-Encoding: gzip\r\n\r\nok",
    "null-in-field": OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "bare-line-feeds": OK.replace(b"\r", b"") + b"X: y\n\r\n\r\nok",
    "folded": OK + b"X: a\r\n b: c\r\nContent-Length: 2\r\n\r\nok",
    "endless-head": OK + b"X: " + b"y" * 100_000,
    "many-fields": OK + b"X: y\r\n" * 500 + b"\r\n",
    "status-of-four-digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "http-2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "uninvited-upgrade": b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "bad-chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "short-body": OK + b"Content-Length: 100\r\n\r\nok",
    "too-much": OK + b"Content-Length: 2\r\n\r\nok" + POISON,
    "before-it-was-asked": OK + b"Content-Length: 2\r\n\r\nok" + POISON * 100,
}


def answer(connection):
    """Answer each request of a connection with the bytes that its path names."""
    with connection:
        head = b""
        while data := connection.recv(65536):
            head += data
            while b"\r\n\r\n" in head:
                first, head = head.split(b"\r\n\r\n", 1)
                what = first.split()[1].decode().strip("/") or "good"
                connection.sendall(ANSWERS[what])
                if what in ("nothing", "half-a-head", "short-body", "noise", "endless-head"):
                    return


with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(os.environ["SUPERVISOR_LISTEN"])
    os.chmod(os.environ["SUPERVISOR_LISTEN"], 0o660)
    listener.listen(100)
    while True:
        threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()
