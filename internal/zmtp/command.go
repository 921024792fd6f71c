package zmtp

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

// A command is the body of a frame with COMMAND (RFC 37, "Commands"):
//
//	 0        1        1+length
//	+--------+--------+--------------
//	| length |  name  | data
//	+--------+--------+--------------
//
// The names and data that a Conn understands after the handshake:
//
//	4 "PING"       2 bytes: time to live in 0.1 s   0 to 16 bytes: context
//	4 "PONG"       0 to 16 bytes: the context of the PING
//	9 "SUBSCRIBE"  the topic
//	6 "CANCEL"     the topic
//	5 "ERROR"      1 byte: length of the reason     the reason
const (
	ping        = "\x04PING"
	pong        = "\x04PONG"
	subscribing = "\x09SUBSCRIBE"
	canceling   = "\x06CANCEL"
	failing     = "\x05ERROR"

	maxContext = 16
	maxTTL     = 65535 // tenths of a second
)

// splitCommand divides the body of a command into its name, with the length before it, and its
// data.
func splitCommand(body []byte) (name, data []byte, err error) {
	if len(body) == 0 || body[0] == 0 || int(body[0]) > len(body)-1 {
		return nil, nil, failf(Malformed, "the peer sent a command without a name")
	}
	n := 1 + int(body[0])
	return body[:n], body[n:], nil
}

// command obeys a command that arrived after the handshake. Unknown ones are for later versions
// of ZMTP, and are ignored.
func (c *Conn) command(body []byte) (event, error) {
	name, data, err := splitCommand(body)
	if err != nil {
		return nothing, err
	}
	switch string(name) {
	case ping:
		return progress, c.pinged(data)
	case subscribing:
		c.topic = data
		return subscribe, nil
	case canceling:
		c.topic = data
		return cancel, nil
	case failing:
		return nothing, refusal(data)
	}
	return progress, nil
}

// pinged answers a PING.
func (c *Conn) pinged(data []byte) error {
	if len(data) < 2 || len(data) > 2+maxContext {
		return failf(Malformed, "the peer sent a PING with %d bytes; it has 2 to %d", len(data), 2+maxContext)
	}
	ttl := time.Duration(binary.BigEndian.Uint16(data)) * 100 * time.Millisecond
	c.beat.pinged(ttl)
	c.out.answer(data[2:])
	return nil
}

// refusal is the error for the data of an ERROR command.
func refusal(data []byte) error {
	if len(data) == 0 || int(data[0]) > len(data)-1 {
		return failf(Malformed, "the peer sent an ERROR without a reason")
	}
	reason := string(data[1 : 1+int(data[0])])
	if status, err := strconv.Atoi(reason); err == nil && status >= 300 && status < 600 { // ZAP, RFC 27
		return failf(Credentials, "the peer refused this side with status %d: "+
			"it does not accept this user, password or key", status)
	}
	return failf(Refused, "the peer refused this side: %s", quote(reason))
}

// quote makes what a peer sent fit for a message: short, and without control characters.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return strconv.Quote(s)
}

// appendCommand appends a command as a frame. name has its length before it.
func appendCommand(b []byte, name string, data ...[]byte) []byte {
	size := len(name)
	for _, d := range data {
		size += len(d)
	}
	b = append(appendHeader(b, flagCommand, size), name...)
	for _, d := range data {
		b = append(b, d...)
	}
	return b
}
