package ship

import (
	"net"
	"sync"
)

// records gathers the TLS records of a frame, which package tls writes one by one, into few
// writes: a write of 16 KiB costs about as much for the way through the kernel as for its
// bytes.
type records struct {
	net.Conn

	mu     sync.Mutex
	gather bool
	block  []byte
	err    error // of a write while records were gathered
}

const (
	recordText  = 16 << 10                // bytes in the largest record
	gathered    = 8 * (recordText + 1<<8) // bytes that one write has at most
	smallRecord = 4 << 10                 // bytes in a record of a small frame
	smallFrame  = 64 << 10
)

// recordSize is how many bytes each record of a frame has, but for the last. Package tls keeps
// memory for the largest record that it has read until the connection ends. So an agent with little
// to send, which is one of many, uses small records: 10,000 agents take 120 MiB less of a
// collector, also after an outage, when each has some pages of lines to send.
func recordSize(frame int) int {
	if frame <= smallFrame {
		return smallRecord
	}
	return recordText
}

// below returns the connection that carries conn.
func below(conn net.Conn) net.Conn {
	for {
		outer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = outer.NetConn()
	}
}

// NetConn returns the connection below.
func (r *records) NetConn() net.Conn { return r.Conn }

// Write implements net.Conn.
func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gather {
		return r.Conn.Write(p)
	}
	if len(r.block)+len(p) > cap(r.block) {
		r.flushLocked()
	}
	if r.err != nil {
		return 0, r.err
	}
	if len(p) > cap(r.block) {
		return r.Conn.Write(p)
	}
	r.block = append(r.block, p...)
	return len(p), nil
}

// begin gathers what is written until end.
func (r *records) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gather = true
	if r.block == nil {
		r.block = make([]byte, 0, gathered)
	}
}

// end writes what was gathered.
func (r *records) end() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushLocked()
	r.gather = false
	return r.err
}

func (r *records) flushLocked() {
	if r.err == nil && len(r.block) > 0 {
		_, r.err = r.Conn.Write(r.block)
	}
	r.block = r.block[:0]
}
