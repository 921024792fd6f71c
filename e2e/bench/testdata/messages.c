/* Peers of a ZeroMQ socket, by libzmq. A message is "@00.NNNNNNNN padding", so many
 * bytes; its number says what is missing. With PUB a topic frame comes before it.
 *
 *   messages push ENDPOINT LINES SIZE
 *   messages pull ENDPOINT LINES
 *   messages pub ENDPOINT LINES SIZE SUBSCRIBERS   waits for them; blocks, drops nothing
 *   messages sub ENDPOINT LINES SUBSCRIBERS        that many sockets, on one thread
 *
 * ENDPOINT begins with @ to bind and with > to connect. Each says "ready", begins at a
 * line on stdin, says "ready" when it is through, and at another line says how many
 * messages it sent or received, how many are missing and how many came behind a later
 * one, and ends. A receiver is through when it has the last message, and all if some came
 * late, or when none came for three seconds. A
 * subscriber is ready when each of its sockets got a message without a number, which
 * tells that its subscription has arrived: what was published before that is not sent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static const char fox[] = "the quick brown fox jumps over the lazy dog ";

static void fail(const char *what) {
	fprintf(stderr, "messages: %s: %s\n", what, zmq_strerror(zmq_errno()));
	exit(1);
}

static void word(void) {
	char line[64];
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin)) exit(1);
}

static void *open_socket(void *ctx, int type, const char *endpoint) {
	void *s = zmq_socket(ctx, type);
	if (type == ZMQ_SUB) zmq_setsockopt(s, ZMQ_SUBSCRIBE, "", 0);
	if (type == ZMQ_XPUB) {
		zmq_setsockopt(s, ZMQ_XPUB_NODROP, &(int){1}, sizeof(int));
		zmq_setsockopt(s, ZMQ_XPUB_VERBOSE, &(int){1}, sizeof(int)); /* each of equal subscriptions */
	}
	if ((*endpoint == '@' ? zmq_bind : zmq_connect)(s, endpoint + 1) != 0) fail(endpoint);
	return s;
}

static void number(char *message, long n) {
	for (int i = 11; i > 3; i--, n /= 10) message[i] = '0' + n % 10;
}

static void send_all(void *s, int topic, long lines, int size) {
	char *message = malloc(size);
	for (int i = 0; i < size; i++) message[i] = i < 13 ? "@00.00000000 "[i] : fox[(i - 13) % (sizeof fox - 1)];
	for (long n = 0; n < lines; n++) {
		number(message, n);
		if (topic && zmq_send(s, "bench/fox", 9, ZMQ_SNDMORE) < 0) fail("send");
		if (zmq_send(s, message, size, 0) < 0) fail("send");
	}
	free(message);
}

struct receiver {
	void *socket;
	long next, got, late;
};

static int through(const struct receiver *r, long lines) {
	return r->next >= lines && (r->late == 0 || r->got >= lines);
}

/* take receives what is there: more than 0 if anything was. */
static int take(struct receiver *r) {
	static char buffer[1 << 20];
	for (int took = 0;; took = 1) {
		int size = zmq_recv(r->socket, buffer, sizeof buffer - 1, ZMQ_DONTWAIT);
		if (size < 0) {
			if (zmq_errno() != EAGAIN) fail("receive");
			return took;
		}
		if (size > (int)sizeof buffer - 1) size = sizeof buffer - 1;
		buffer[size] = 0;
		char *end = buffer + size;
		for (char *at = buffer; (at = memchr(at, '@', end - at)); at++) { /* a message may be several lines */
			long n = strtol(at + 4, NULL, 10);
			if (n < r->next) r->late++;
			else r->next = n + 1;
			r->got++;
		}
	}
}

static void receive_all(struct receiver *r, int sockets, long lines) {
	zmq_pollitem_t *items = calloc(sockets, sizeof *items);
	for (int i = 0; i < sockets; i++) items[i] = (zmq_pollitem_t){r[i].socket, 0, ZMQ_POLLIN, 0};
	for (int left = sockets; left > 0;) {
		int n = zmq_poll(items, sockets, 3000);
		if (n < 0) fail("poll");
		if (n == 0) break;
		for (int i = 0; i < sockets; i++) {
			if (!(items[i].revents & ZMQ_POLLIN) || through(r + i, lines)) continue;
			take(r + i);
			if (through(r + i, lines)) {
				items[i].events = 0;
				left--;
			}
		}
	}
	free(items);
}

int main(int argc, char **argv) {
	if (argc < 4) return 64;
	const char *role = argv[1], *endpoint = argv[2];
	long lines = atol(argv[3]), done = lines, missing = 0, late = 0;
	int sends = role[0] == 'p' && role[2] != 'l', topic = strcmp(role, "pub") == 0;
	int peers = topic && argc > 5 ? atoi(argv[5]) : !sends && argc > 4 ? atoi(argv[4]) : 1;
	char first[512];
	void *ctx = zmq_ctx_new();
	if (sends && argc > 4) {
		void *s = open_socket(ctx, topic ? ZMQ_XPUB : ZMQ_PUSH, endpoint);
		for (int i = 0; topic && i < peers; i++)
			if (zmq_recv(s, first, sizeof first, 0) < 0) fail("subscription");
		if (topic && zmq_send(s, "begin", 5, 0) < 0) fail("send");
		word();
		send_all(s, topic, lines, atoi(argv[4]));
		zmq_close(s);
		zmq_ctx_term(ctx); /* until all is with the kernel */
	} else {
		struct receiver *r = calloc(peers, sizeof *r);
		for (int i = 0; i < peers; i++) r[i].socket = open_socket(ctx, strcmp(role, "sub") ? ZMQ_PULL : ZMQ_SUB, endpoint);
		for (int i = 0; i < peers && strcmp(role, "sub") == 0; i++)
			if (zmq_recv(r[i].socket, first, sizeof first, 0) < 0) fail("receive");
		word();
		receive_all(r, peers, lines);
		done = 0;
		for (int i = 0; i < peers; i++) {
			done += r[i].got;
			late += r[i].late;
		}
		missing = lines * peers - done;
	}
	word();
	printf("%ld %ld %ld\n", done, missing, late);
	return 0;
}
