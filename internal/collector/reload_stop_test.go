package collector

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fanin/internal/waittest"
)

// TestReloadStopped: what waits in a socket is read, though the collector stops when the listener
// before has left it and the new one has not begun.
func TestReloadStopped(t *testing.T) {
	at := free(t, 1)
	r := newReloading(t, listenTable("udp", at[0], ""))
	r.write(t, listenTable("udp", at[0], "source = \"new\""))
	s, err := r.reloads.again()
	if err != nil {
		t.Fatal(err)
	}
	x, err := r.prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	x.gone[0].retire()
	nc, err := net.Dial("udp", at[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for i := range 100 {
		fmt.Fprintf(nc, "waiting %d\n", i)
	}
	r.reloads.end()
	r.apply(x)
	r.leaving.Do(func() { close(r.leave) })
	r.inOrder(t, "waiting", 100)
}

// TestReloadStopsSoon: a stop does not wait until an old listener has ended, or has left its sockets, for
// which a new one waits. Both would not have their time before systemd kills the collector; and while the
// log accepts nothing, a listener leaves its sockets only when it is told to give up.
func TestReloadStopsSoon(t *testing.T) {
	for name, leaves := range map[string]bool{"ends": false, "leaves": true} {
		t.Run(name, func(t *testing.T) { stopsSoon(t, leaves) })
	}
}

func stopsSoon(t *testing.T, leaves bool) {
	r := newReloading(t, listenTable("tcp", free(t, 1)[0], ""))
	end, err := r.reloads.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fake := func(shutdown func(context.Context) error) *listener {
		x := &listener{part: r.listeners.all()[0].part, close: func() {}, shutdown: shutdown,
			serve: func() error { t.Error("a listener begins while the collector stops"); return nil }}
		x.ended, x.free, x.gone = make(chan struct{}), make(chan struct{}), make(chan struct{})
		x.staying, x.end = context.WithCancel(r.reloads.ctx)
		return x
	}
	toldTo, release := make(chan struct{}), make(chan struct{})
	old := fake(func(context.Context) error { close(toldTo); <-release; close(release); return nil })
	if leaves {
		old.retire, old.rest = func() { <-toldTo; <-release }, func(context.Context) {}
	}
	close(old.ended)
	next := fake(func(context.Context) error { return nil })
	next.begun = make(chan struct{})
	r.reloads.running.Go(func() {
		defer end()
		r.apply(&change{settings: r.reloads.now(), most: r.most, all: append(r.listeners.all(), next),
			added: []*listener{next}, gone: []*listener{old}})
	})
	stopped := make(chan struct{})
	go func() { // ends with release, at the latest
		r.reloads.stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("a stop waits for a listener that a reload ended")
	}
	select {
	case <-toldTo:
	case <-time.After(10 * time.Second):
		t.Error("the old listener is not told to end")
	}
	release <- struct{}{}
	<-stopped
	<-r.reloads.one // for the end of the test
}

// TestReloadAfterStop: no reload begins once the collector stops, also if none is under way.
func TestReloadAfterStop(t *testing.T) {
	r := newReloads(new(settings), nil, nil)
	r.end()
	for range 100 {
		if end, err := r.begin(t.Context()); err == nil {
			end()
			t.Fatal("a reload begins")
		}
	}
}

// TestReloadRefusedChangesNothing: not even the mode of a socket that a new listener would have taken over.
func TestReloadRefusedChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "log.sock")
	table := func(mode string) string {
		return fmt.Sprintf("[[collector.unix]]\npath = %q\nmode = %q\n", path, mode)
	}
	mode := func(want fs.FileMode) {
		t.Helper()
		waittest.Until(t, fmt.Sprint("the mode ", want), func() bool {
			fi, err := os.Stat(path)
			return err == nil && fi.Mode().Perm() == want
		})
	}
	r := newReloading(t, table("0666"))
	r.refuses(t, table("0600")+listenTable("relp", taken.Addr().String(), ""), "address already in use")
	mode(0o666)
	r.takes(t, table("0600"))
	mode(0o600)
}
