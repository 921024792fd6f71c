package gelf

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// docker is a message as Docker's driver sends it.
const docker = `{"version":"1.1","host":"node-1","short_message":"10.0.0.7 - - \"GET /index.html HTTP/1.1\" 200 612 \"-\" \"curl/8.5.0\"",` +
	`"timestamp":1795676399.123,"level":6,"_command":"nginx -g daemon off;","_container_id":"4c01db0b339c8d2b0a6e6d6d4f0d4c1b9e0f4a1e6f0a7c8b9d0e1f2a3b4c5d6e",` +
	`"_container_name":"web","_created":"2026-11-25T10:00:00.123456789Z","_image_id":"sha256:0a6e6d6d4f0d","_image_name":"nginx","_tag":"4c01db0b339c"}`

// A message costs no memory once its labels are known.
func BenchmarkScan(b *testing.B) {
	for name, s := range map[string]Settings{"text": {}, "keep": {KeepFields: true}, "json": {JSON: true}, "time": {JSON: true, SenderTime: true}} {
		b.Run(name, func(b *testing.B) {
			x := s.New()
			message, line := make([]byte, len(docker)), []byte(nil)
			b.SetBytes(int64(len(docker)))
			b.ReportAllocs()
			for b.Loop() {
				copy(message, docker)
				line, _, _ = x.Scan(line[:0], message, &Origin{Host: "192.0.2.1", Now: now})
			}
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	for name, packed := range map[string][]byte{"gzip": gzipOf(docker), "zlib": zlibOf(docker)} {
		b.Run(name, func(b *testing.B) {
			var u unpacker
			b.ReportAllocs()
			for b.Loop() {
				if _, reason := u.unpack(packed, packingOf(packed), 1<<20); reason != "" {
					b.Fatal(reason)
				}
			}
		})
	}
}

func BenchmarkChunks(b *testing.B) {
	c := newTestChunks(8<<20, 1<<20)
	peer := netip.MustParseAddr("192.0.2.1")
	at := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for _, chunk := range inChunks(fmt.Sprintf("%08x", i), []byte(docker), 200) {
			c.add(peer, "a", chunk, at)
		}
	}
}
