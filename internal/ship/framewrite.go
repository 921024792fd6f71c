package ship

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
)

// handshake makes the session's connection a TLS connection to the collector at an address.
func (s *tcpSession) handshake(ctx context.Context, address string) error {
	c := s.t.TLS()
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(address)
	}
	s.records = &records{Conn: s.conn}
	tc := tls.Client(s.records, c)
	s.conn = tc
	return tc.HandshakeContext(ctx)
}

// writeLocked writes a frame, at once where the connection can. It has no deadline:
// liveReader decides whether the connection lives. Then it measures the link.
func (s *tcpSession) writeLocked(head, text []byte) error {
	write := s.writeParts
	if s.records != nil {
		write = s.writeRecords
	}
	if err := write(head, text); err != nil {
		return fmt.Errorf("send to the collector: %w", err)
	}
	if len(text) >= minMeasured {
		s.encoder.measured(linkSpeed(s.conn))
	}
	return nil
}

// smallText is a text that is copied behind its head: a list of two parts costs more.
const smallText = 4 << 10

func (s *tcpSession) writeParts(head, text []byte) error {
	if len(text) <= smallText {
		s.head = append(head, text...)
		_, err := s.conn.Write(s.head)
		return err
	}
	parts := net.Buffers{head, text}
	_, err := parts.WriteTo(below(s.conn))
	return err
}

// writeRecords writes a frame in records that are as full as they may be, and in few writes.
func (s *tcpSession) writeRecords(head, text []byte) error {
	size := recordSize(len(head) + len(text))
	first := min(len(text), size-len(head)%size) // the last record of the head is full, too
	s.head = append(head, text[:first]...)
	head, text = s.head, text[first:]
	if len(head) <= size && len(text) == 0 {
		_, err := s.conn.Write(head)
		return err
	}
	s.records.begin()
	err := s.writeEach(head, size)
	if err == nil {
		err = s.writeEach(text, size)
	}
	return cmp.Or(err, s.records.end())
}

// writeEach writes records of so many bytes.
func (s *tcpSession) writeEach(p []byte, size int) error {
	for record := range slices.Chunk(p, size) {
		if _, err := s.conn.Write(record); err != nil {
			return err
		}
	}
	return nil
}
