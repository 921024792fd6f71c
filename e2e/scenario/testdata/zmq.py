# Peers of ZeroMQ sockets, by libzmq.
#   zmq.py publish PORT   on "FROM TO" publishes the numbers in between, each once, waiting
#                         where it would have to drop one; on "break" closes its socket and
#                         binds another one. Answers each with "done".
#   zmq.py subscribe PORT FILE   writes the numbers that it receives
import signal, sys, zmq

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
role, port = sys.argv[1:3]
context = zmq.Context()


def publisher():
    socket = context.socket(zmq.XPUB)
    socket.xpub_nodrop, socket.linger = 1, 0
    for _ in range(1000):
        try:
            socket.bind("tcp://127.0.0.1:" + port)
            break
        except zmq.ZMQError:  # the one before is closed by another thread
            pass
    assert socket.recv() == b"\x01"  # the collector has subscribed to everything
    return socket


if role == "publish":
    socket = publisher()
    print("done", flush=True)
    for words in map(str.split, sys.stdin):
        if words[0] == "break":
            socket.close()
            socket = publisher()
        else:
            for i in range(int(words[0]), int(words[1])):
                socket.send_multipart([b"numbers", b"number %d %s" % (i, b"x" * 80)])
        print("done", flush=True)
else:
    socket = context.socket(zmq.SUB)
    socket.subscribe("")
    socket.connect("tcp://127.0.0.1:" + port)
    with open(sys.argv[3], "wb") as f:
        while True:
            topic, line = socket.recv_multipart()
            f.write(line.split(b"number ")[1].split()[0] + b"\n")
            if not socket.poll(0):
                f.flush()
