#!/usr/bin/env python3
"""A worker for fanin's work distributor: worker.py HOST:PORT GROUP [FROM]

Prints each line of the group that it is given, with its position. Replace done().
Needs msgpack (Debian: python3-msgpack).
"""
import socket
import sys

import msgpack


def done(position, line):
    """Does the work of one line; an exception gives it back."""
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
    say = lambda *frame: conn.sendall(msgpack.packb(frame))
    say("fanin-work", 1, options)
    hear = msgpack.Unpacker(conn.makefile("rb", 0), read_size=65536, max_buffer_size=128 << 20)
    for kind, *rest in hear:
        if kind == "lines":
            n, attempt, runs, text = rest
            for i, (position, line) in enumerate(lines(runs, text)):
                try:
                    done(position, line)
                    say("ack", n, i, i + 1)
                except Exception as e:
                    say("nack", n, i, i + 1, str(e)[:1000])
        elif kind == "fault":
            sys.exit(f"the collector refuses: {rest[0]}")
