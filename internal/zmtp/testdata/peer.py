"""A libzmq socket for tests. It takes its orders as JSON on the command line:

type: socket type   connect: port, or it binds and prints its port
options: {"NAME": value, ...}   plain: {user: password} that a server accepts   clients: directory of a CURVE server
subscribe: [topic, ...]   steps: [["send", frame, ...], ["recv"], ["wait"], ["monitor"], ...]

recv prints the frames of a message; wait ends with the line that comes on stdin.
monitor prints the next event of the connection's end.
"""
import json, sys, zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

order = json.loads(sys.argv[1])
context = zmq.Context()
auth = None
if "plain" in order or "clients" in order:
    auth = ThreadAuthenticator(context)
    auth.start()
    if "plain" in order:
        auth.configure_plain(domain="*", passwords=order["plain"])
    else:
        auth.configure_curve(domain="*", location=order["clients"])
socket = context.socket(getattr(zmq, order["type"]))
socket.linger = 0
socket.rcvtimeo = socket.sndtimeo = 10000
for name, value in order.get("options", {}).items():
    value = value.encode() if isinstance(value, str) else value
    socket.setsockopt(getattr(zmq, name), value)
for topic in order.get("subscribe", []):
    socket.subscribe(topic)
monitor = socket.get_monitor_socket()


def say(what):
    print(json.dumps(what), flush=True)


if "connect" in order:
    socket.connect("tcp://127.0.0.1:%d" % order["connect"])
    say("connecting")
else:
    say(socket.bind_to_random_port("tcp://127.0.0.1"))

ENDS = {zmq.EVENT_DISCONNECTED: "disconnected", zmq.EVENT_HANDSHAKE_FAILED_AUTH: "auth",
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "protocol", zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "failed",
        zmq.EVENT_HANDSHAKE_SUCCEEDED: "succeeded"}
def obey(step):
    if step[0] == "send":
        socket.send_multipart([f.encode("latin-1") for f in step[1:]])
    elif step[0] == "recv":
        say([f.decode("latin-1") for f in socket.recv_multipart()])
    elif step[0] == "wait":
        sys.stdin.readline()
    elif step[0] == "subscribe":
        socket.subscribe(step[1])
    elif step[0] == "unsubscribe":
        socket.unsubscribe(step[1])
    elif step[0] == "monitor":
        event = None
        while event not in ENDS:
            if not monitor.poll(10000):
                raise TimeoutError("no event")
            event = recv_monitor_message(monitor)["event"]
        say(ENDS[event])


try:
    for step in order["steps"]:
        obey(step)
finally:
    socket.close()
    if auth:
        auth.stop()
