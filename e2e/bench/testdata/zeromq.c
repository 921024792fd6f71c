/* Pushes lines to four pullers, or pulls them: a line a message, and messages of
 * one byte when there are no more.
 *   zeromq push ENDPOINT LINES   says "." when four are connected, begins at a byte on stdin, ends with that
 *   zeromq pull ENDPOINT 0       ends at the first message of one byte
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

int main(int argc, char **argv) {
	if (argc != 4) return 64;
	long lines = atol(argv[3]);
	char line[512];
	memset(line, 'x', sizeof line);
	void *ctx = zmq_ctx_new();
	if (strcmp(argv[1], "pull") == 0) {
		void *s = zmq_socket(ctx, ZMQ_PULL);
		if (zmq_connect(s, argv[2]) != 0) return 1;
		for (int n = 0; n != 1;)
			if ((n = zmq_recv(s, line, sizeof line, 0)) < 0) return 1;
		zmq_close(s);
		zmq_ctx_term(ctx);
		return 0;
	}
	void *s = zmq_socket(ctx, ZMQ_PUSH);
	void *mon = zmq_socket(ctx, ZMQ_PAIR);
	zmq_socket_monitor(s, "inproc://monitor", ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
	zmq_connect(mon, "inproc://monitor");
	if (zmq_bind(s, argv[2]) != 0) return 1;
	for (int n = 0; n < 4; n++) { /* two frames each */
		zmq_recv(mon, line, sizeof line, 0);
		zmq_recv(mon, line, sizeof line, 0);
	}
	memset(line, 'x', sizeof line);
	if (write(1, ".", 1) != 1) return 1;
	char c;
	if (read(0, &c, 1) != 1) return 1;
	unsigned r = 1;
	for (long i = 0; i < lines; i++) {
		r = r * 1103515245 + 12345;
		if (zmq_send(s, line, 46 + (r >> 16) % 283, 0) < 0) return 1;
	}
	int linger = 0;
	zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
	struct pollfd in = {0, POLLIN, 0};
	while (poll(&in, 1, 1) == 0)
		zmq_send(s, line, 1, ZMQ_DONTWAIT);
	zmq_socket_monitor(s, NULL, 0);
	zmq_close(mon);
	zmq_close(s);
	zmq_ctx_term(ctx);
	return 0;
}
