package ship

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/certs/certstest"
)

// TestEndOfDeadLink: the end of a TLS session tells the peer of it, and does not wait for a link that takes nothing.
func TestEndOfDeadLink(t *testing.T) {
	ca, now := certstest.New(t), time.Now()
	cert := ca.Sign("collector", "collector")
	for name, dead := range map[string]bool{"alive": false, "dead": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				s := newTCPSession(ours, &TCP{TLS: func() *tls.Config {
					return &tls.Config{RootCAs: ca.Pool, ServerName: "collector", MaxVersion: tls.VersionTLS12,
						Time: func() time.Time { return now }}
				}})
				last := make(chan error, 1)
				go func() { // ends with the connection
					peer := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{cert}})
					err := peer.Handshake()
					if err == nil && !dead {
						_, err = peer.Read(make([]byte, 1))
					}
					last <- err
				}()
				if err := s.handshake(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				s.close(errors.New("over"))
				took := time.Since(begun)
				if most := map[bool]time.Duration{true: goodbye}[dead]; took > most {
					t.Errorf("the end took %v, want at most %v", took, most)
				}
				if err := <-last; !dead && err == nil || dead && err != nil {
					t.Errorf("the peer: %v", err)
				}
			})
		})
	}
}

// TestLongPauses: however long the collector was away, it has its agents within 12 s, and not all at once.
func TestLongPauses(t *testing.T) {
	var timing Timing
	timing.setDefaults(time.Second)
	seconds := make(map[time.Duration]int)
	for range 2000 {
		b := timing.backoff()
		for range 10 {
			b.Next()
		}
		d := b.Next()
		if d > 12*time.Second {
			t.Fatalf("a pause of %v", d)
		}
		seconds[d/time.Second]++
	}
	for s, n := range seconds {
		if n > 2000/4 {
			t.Errorf("%d of 2000 come back %d s after they were sent away", n, s)
		}
	}
}
