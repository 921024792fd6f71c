package sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/ingest/relp"
	"fanin/ingest/relp/relptest"
	listen "fanin/ingest/stream"
	"fanin/internal/disk/disktest"
)

// relpLife is a collector that ends at an access to its disk, and its client, which lives on.
type relpLife struct {
	*testing.T
	disk   *disktest.Disk
	path   string
	client relptest.Client
	sent   int
	rnd    *rand.Rand
	window int
	mode   string
}

// start opens the log and a listener, which stop closes both.
func (l *relpLife) start() (s *Sink, stop func(), err error) {
	s = &Sink{Path: l.path, Disk: l.disk.Under, Format: "raw", Sync: l.mode, env: environment{walSize: 16 * blockSize}}
	if err := s.Open(context.Background()); err != nil {
		return nil, nil, err
	}
	p := &relp.Protocol{Out: s, Sessions: &relp.Sessions{Remembered: s.Extensions}, Window: l.window}
	x := &listen.Listener{Formats: []listen.Format{p.Format()}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.Fatal(err)
	}
	l.client.Address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- x.Serve(ln) }() // ends by stop
	return s, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := x.Shutdown(ctx); err != nil {
			l.Error(err)
		}
		<-served
		s.Close(ctx)
	}, nil
}

// send sends lines until an error, and cuts the network at times.
func (l *relpLife) send(s *Sink, lines int) error {
	err := l.client.Open()
	for range lines {
		if err != nil {
			return err
		}
		l.sent++
		if err = l.client.Send(fmt.Sprintf("line %d", l.sent)); err != nil {
			return err
		}
		switch l.rnd.IntN(12) {
		case 0:
			l.client.Cut()
			err = l.client.Open()
		case 1:
			err = l.client.Settle()
		case 2:
			s.Checkpoint(context.Background())
		}
	}
	return err
}

// live is one run of the collector. It reports that the disk stopped.
func (l *relpLife) live(lines int, last bool) (stopped bool) {
	s, stop, err := l.start()
	if err != nil {
		if last {
			l.Fatal(err)
		}
		return true
	}
	err = l.send(s, lines)
	if last {
		if err == nil {
			err = l.client.Settle()
		}
		if err != nil {
			l.Fatal(err)
		}
	}
	if l.client.Conn != nil {
		l.client.Cut()
	}
	stopped = l.disk.Stopped()
	if !last {
		l.disk.Stop()
	}
	stop()
	return stopped
}

// relpCrash stops the disk at its n-th access, while lines are sent, and again in the next start or
// later. A kill or a power cut follows. It reports that all was over before.
func relpCrash(t *testing.T, mode string, cut bool, n int64, seed uint64) (ended bool) {
	l := &relpLife{T: t, mode: mode, disk: disktest.New(t), rnd: rand.New(rand.NewPCG(uint64(n), seed)),
		window: []int{16, 4096}[n%2], client: relptest.Client{Window: 16}}
	defer l.disk.Remove()
	l.path = filepath.Join(l.disk.Dir, "all.log")
	for life := range 2 {
		l.disk.StopAt((n+1)/(1+int64(life))+int64(life)*(n%7), int(seed%97))
		stopped := l.live(30, false)
		ended = ended || life == 0 && !stopped
		if cut {
			l.disk.Cut(seed)
		} else {
			l.disk.Kill()
		}
	}
	l.live(10, true)
	b, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for i, line := range lines {
		if want := fmt.Sprintf("line %d", i+1); line != want {
			t.Fatalf("access %d, cut %v, seed %d: line %d of the log is %q", n, cut, seed, i+1, line)
		}
	}
	if len(lines) != l.sent {
		t.Fatalf("access %d, cut %v, seed %d: the log has %d lines of %d", n, cut, seed, len(lines), l.sent)
	}
	return ended
}

// TestRELPCrashAtEveryAccess stops the machine at each single access to the disk, while a RELP
// client sends, and the network is cut. Each line is in the log once, and in order.
func TestRELPCrashAtEveryAccess(t *testing.T) {
	disktest.EachAccess(t, 8, func(t *testing.T, n int64, seed uint64) bool {
		ended := relpCrash(t, syncCommit, true, n, seed)
		if seed%2 == 0 {
			ended = relpCrash(t, []string{syncCommit, syncNone}[seed/2%2], false, n, seed) && ended
		}
		return ended
	})
}
