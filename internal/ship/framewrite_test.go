package ship

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

// recorded keeps what is written to a connection, write by write.
type recorded struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte
}

func (r *recorded) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, bytes.Clone(p))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

// take returns the writes until now, and the lengths of the TLS records in them.
func (r *recorded) take(t *testing.T) (writes [][]byte, records []int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	writes, r.writes = r.writes, nil
	for all := bytes.Join(writes, nil); len(all) > 0; {
		n := int(binary.BigEndian.Uint16(all[3:5]))
		if all[0] != 23 || len(all) < 5+n {
			t.Fatalf("no record of application data: % x", all[:5])
		}
		records, all = append(records, n), all[5+n:]
	}
	return writes, records
}

// TestFrameInFullRecords: all records of a frame have 4 KiB, or 16 KiB if it is large, but for the last, and
// there are few writes.
func TestFrameInFullRecords(t *testing.T) {
	ca := certstest.New(t)
	ours, theirs := net.Pipe()
	raw := &recorded{Conn: ours}
	c := &TCP{Compress: "none", TLS: func() *tls.Config {
		return &tls.Config{RootCAs: ca.Pool, ServerName: "collector", DynamicRecordSizingDisabled: true}
	}}
	c.defaults()
	s := newTCPSession(raw, c)
	got := make(chan []byte)
	go func() { // ends with the connection
		peer := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{ca.Sign("collector", "collector")}})
		all, _ := io.ReadAll(peer)
		got <- all
	}()
	if err := s.handshake(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	raw.writes = nil
	var want []byte
	for i, n := range []int{100, smallRecord - 200, 5000, 16_000, recordText, smallFrame - 200, smallFrame, 100_000, 1 << 20, wire.MaxText} {
		text := bytes.Repeat([]byte("0123456\n"), n/8)
		b := wire.Batch{Stream: wire.StreamID{byte(i), 1}, Text: text}
		if n == 16_000 { // each line has a time of its own: the head is larger than a record
			for line := range n / 8 {
				b.Marks = append(b.Marks, wire.Mark{Text: 8 * line, Labels: wire.Labels{Time: time.UnixMicro(int64(line))}})
			}
		}
		x, err := s.start(&b)
		if err == nil {
			err = s.send(x, &b)
		}
		if err != nil {
			t.Fatal(err)
		}
		frame := append(wire.AppendBatch(nil, &b, wire.Plain, text), text...)
		want = append(want, frame...)
		writes, records := raw.take(t)
		if most := 1 + len(frame)/(gathered-2*recordText); len(writes) > most {
			t.Errorf("a frame of %d bytes: %d writes, want at most %d", len(frame), len(writes), most)
		}
		size := 16 << 10
		if len(frame) <= 64<<10 {
			size = 4 << 10
		}
		full := size + 1 + 16 // the kind of content, and the seal
		if n := (len(frame) + size - 1) / size; len(records) != n {
			t.Errorf("a frame of %d bytes: %d records, want %d", len(frame), len(records), n)
		}
		for _, n := range records[:len(records)-1] {
			if n != full {
				t.Errorf("a frame of %d bytes: a record of %d bytes, want %d", len(frame), n, full)
			}
		}
	}
	if err := s.write(wire.AppendPing(nil, wire.KindPing, 1)); err != nil {
		t.Fatal(err)
	}
	want = append(want, wire.AppendPing(nil, wire.KindPing, 1)...)
	s.close(nil)
	if all := <-got; !bytes.Equal(all, want) {
		t.Errorf("%d bytes came, want %d", len(all), len(want))
	}
}

// TestEachEncoding: what is sent in each encoding arrives unchanged, and one connection may change it.
func TestEachEncoding(t *testing.T) {
	m, _, addr := collect(t)
	c := connect(t, addr, func(c *TCP) { c.Compress = "auto" })
	text, _ := webLines(100_000)
	id := open(t, c)
	var all []byte
	for _, e := range []wire.Encoding{wire.Plain, wire.S2, wire.Zstd, wire.S2} {
		c.encoder.Load().choice.mu.Lock()
		c.encoder.Load().choice.encoding = e
		c.encoder.Load().choice.mu.Unlock()
		b := wire.Batch{Stream: id, Epoch: 1, Offset: int64(len(all)), Before: wire.TailHash(all), Text: text}
		all = append(all, text...)
		b.End, b.After = int64(len(all)), wire.TailHash(all)
		if err := c.Append(bounded(t), b); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.Text(id); !bytes.Equal(got, all) {
		t.Errorf("%d bytes came, want %d", len(got), len(all))
	}
	n := uint64(len(text))
	if s := c.Compression().Sent; s != (Sent{Plain: n, S2: 2 * n, Zstd: n}) {
		t.Errorf("%+v, want %d, twice in S2", s, n)
	}
}

// TestEncodingsOfTheCollector: the real listener announces S2, and an older collector does not.
func TestEncodingsOfTheCollector(t *testing.T) {
	_, _, addr := collect(t)
	old := newPeer(t).serve()
	for address, want := range map[string]wire.Encoding{addr: wire.S2, old.ln.Addr().String(): 0} {
		c := connect(t, address, func(c *TCP) { c.Compress = "auto" })
		open(t, c)
		if got := c.encoder.Load().accepted; got != want {
			t.Errorf("accepted %v, want %v", got, want)
		}
	}
}
