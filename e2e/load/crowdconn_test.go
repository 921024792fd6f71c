package load

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/wire"
)

// TestCrowdDead: an agent notices a collector that does not answer any more, whether that still reads or not.
func TestCrowdDead(t *testing.T) {
	for _, reads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			crowd := &Crowd{Agents: 1, Least: 1, Most: 1}
			crowd.Begin(time.Now())
			near, far := net.Pipe()
			defer far.Close()
			c := &crowdConn{Conn: near}
			c.in = wire.NewDecoderSize(c, len(c.block))
			if reads {
				go func() { // ends with the pipe
					for b := make([]byte, 1<<10); ; {
						if _, err := far.Read(b); err != nil {
							return
						}
					}
				}()
			}
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			defer context.AfterFunc(ctx, func() { near.Close() })()
			c.heard = began
			if err := crowd.all[0].talk(c); err == nil {
				t.Error("no error")
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("reads %v: it took %v", reads, took)
			}
			near.Close()
		})
	}
}
