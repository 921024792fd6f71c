#!/usr/bin/env python3
"""A worker for fanin's work distributor: worker.py HOST:PORT GROUP [FROM]

Prints each line of the group that it receives, with its position. Replace process().
Needs msgpack (Debian: python3-msgpack).
"""
import socket
import sys

import msgpack


def process(position, line):
    """Processes one line. An exception reports it as failed."""
    print(position, line.decode(errors="replace"), flush=True)


def lines(runs, text):
    """The lines of a delivery: run after run of the log, whole lines each."""
    for generation, offset, length in runs:
        run, text = text[:length], text[length:]
        for line in run[:-1].split(b"\n"):
            yield f"{generation}:{offset}", line
            offset += len(line) + 1


host, port = sys.argv[1].rsplit(":", 1)
options = {"group": sys.argv[2], "credit": 1000, "from": sys.argv[3] if len(sys.argv) > 3 else "end"}
with socket.create_connection((host, int(port))) as conn:
    send = lambda *frame: conn.sendall(msgpack.packb(frame))
    send("fanin-work", 1, options)
    frames = msgpack.Unpacker(conn.makefile("rb", 0), read_size=65536, max_buffer_size=128 << 20)
    for kind, *rest in frames:
        if kind == "lines":
            n, attempt, runs, text = rest
            for i, (position, line) in enumerate(lines(runs, text)):
                try:
                    process(position, line)
                    send("ack", n, i, i + 1)
                except Exception as e:
                    send("nack", n, i, i + 1, str(e)[:1000])
        elif kind == "fault":
            sys.exit(f"the collector refuses: {rest[0]}")
