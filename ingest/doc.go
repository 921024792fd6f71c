// Package ingest is what all inputs share: the memory budget, the sessions of agents,
// rates, line ends, metrics, and how a batch is offered. An input appends its
// lines, as batches, to one wire.Appender, and knows nothing of files.
//
//	ingest/stream      accepts connections, and finds out which protocol each is of
//	ingest/datagram    reads datagrams, and finds out of which format each is
//	ingest/agent       fanin's own agents, over connections and in datagrams
//	ingest/plain       plain lines, over connections and in datagrams
//	ingest/gelf        messages of GELF, over connections and in datagrams
//	ingest/nats        agents and plain lines over a NATS server
//	ingest/zmq         lines from ZeroMQ peers
//
// A new protocol is a package of its own beside these: a stream.Protocol or a
// datagram.Handler, and the Format that recognizes it. The collector lists inputs in
// one file, internal/collector/inputs.go.
//
// Lines are read into blocks of the Budget and stay there until Append returned their
// outcome. All blocks together are bounded: when the budget is used up, nothing is
// read, TCP senders wait, and the kernel counts the datagrams that it drops.
//
// What is promised depends on the class of the input, see package counters: an agent's
// frame is answered with Append's outcome and nothing else. A plain line cannot be
// answered: it is appended once; when the outcome is unknown, the lines are counted
// (fanin_unsure_lines_total) and reported.
package ingest
