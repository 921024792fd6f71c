// Package ingest is the way in: it takes lines from connections and datagrams
// and gives them, as batches, to one wire.Appender. It knows nothing of files.
//
//	TCP.Serve -- accept -- conn.serve          one goroutine for each connection
//	                         |
//	                       conn.sniff          the first bytes tell who speaks
//	                  +------+------------------------+
//	             plain lines                        an agent
//	        conn.readLines <- intake           agentConn.greet     hello, Sessions.Claim, welcome
//	             |  handOver                   agentConn.takeFrames <- wire.Decoder
//	        conn.give (one block, while             |  take
//	             |     the next is read)       agentConn.offer (up to 16 at once)
//	             v                                  v          \
//	       Out.Append  <--------------------- Out.Append        answers.write: ack, nack, ...
//
//	UDP.Serve -- datagramReader -> sorter -> queue -> queue.give -> Out.Append
//	             recvmmsg, one     lines by   two rounds: one is filled
//	             goroutine         host       while the other is given
//
// A line is read into a block of the Budget and stays there until Append said
// what became of it: no line is copied, but for the beginning of one that the
// end of a block cuts. All blocks together are bounded by the Budget (of UDP, by
// its queue): when it is full nobody reads on, TCP senders wait, and the kernel
// counts the datagrams it drops.
//
// What is promised: an agent's frame is answered with Append's outcome and
// nothing else. A plain line cannot be answered: it is given once; when the
// outcome is not known, the connection ends, and the lines are counted
// (fanin_unsure_lines_total) and said.
package ingest
