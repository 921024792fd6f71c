package ship

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"fanin/internal/wire"
)

// FuzzAnswers: whatever a collector sends while two batches of a stream wait, the first one's outcome is the first answer to
// the stream, and the second one's the second. What has none is unknown.
func FuzzAnswers(f *testing.F) {
	id := wire.StreamID{1}
	answer := func(k wire.Kind, stream byte) []byte {
		return wire.AppendAnswer(nil, wire.Answer{Kind: k, Stream: wire.StreamID{stream}, Reason: "why",
			Expected: wire.Expected{Known: true, Watermark: wire.Watermark{Epoch: 1, Point: wire.Point{Offset: 7}}}})
	}
	ack, nack, refuse, later := answer(wire.KindAck, 1), answer(wire.KindNack, 1), answer(wire.KindRefuse, 1), answer(wire.KindLater, 1)
	pong, fault := wire.AppendPing(nil, wire.KindPong, 0), wire.AppendFault(nil, "no", 1)
	for _, frames := range [][][]byte{
		{ack, ack}, {nack, nack}, {refuse, nack}, {nack, ack}, {later, ack}, {ack, later}, {ack}, {ack, ack, ack}, {},
		{answer(wire.KindAck, 2), ack, answer(wire.KindRefuse, 2), nack}, {pong, ack, pong, refuse}, {ack, fault, ack},
		{wire.AppendDrain(nil), ack, nack, ack}, {ack, ack[:4]}, {ack, wire.AppendHello(nil, wire.Hello{}), ack}, {later, fault},
	} {
		f.Add(bytes.Join(frames, nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := chained(&scriptedConn{from: bytes.NewReader(b)}, &TCP{})
		var list [2]*flight
		for i := range list {
			x, err := s.add(id)
			if err != nil {
				t.Fatal(err)
			}
			list[i] = x
		}
		s.close(s.read())
		for i, want := range outcomes(b, id) {
			if got := fmt.Sprint(s.wait(t.Context(), list[i], nil, nil)); want != "" && got != want || want == "" && got == fmt.Sprint(nil) {
				t.Errorf("batch %d: %v, want %q", i, got, want)
			}
		}
	})
}

// outcomes is what the first two answers to a stream say, as texts; "" where there is none.
func outcomes(b []byte, id wire.StreamID) (list [2]string) {
	d := wire.NewDecoder(bytes.NewReader(b))
	var f wire.Frame
	for n := 0; n < len(list) && d.Next(&f) == nil; {
		switch f.Kind {
		case wire.KindAck, wire.KindNack, wire.KindRefuse, wire.KindLater:
			if f.Answer.Stream == id {
				list[n] = fmt.Sprint(f.Answer.Err())
				n++
			}
		case wire.KindPong, wire.KindDrain:
		default:
			return list
		}
	}
	return list
}

// scriptedConn is a connection from which some bytes come, and then the end.
type scriptedConn struct {
	net.Conn
	from *bytes.Reader
}

func (c *scriptedConn) Read(b []byte) (int, error) { return c.from.Read(b) }
func (c *scriptedConn) Close() error               { return nil }
func (c *scriptedConn) RemoteAddr() net.Addr       { return &net.TCPAddr{} }
