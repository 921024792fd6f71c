package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/retry"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
)

// node is a log, and what copies its files.
type node struct {
	t      *testing.T
	dir    string
	sink   *sink.Sink
	copier *Copier
	stop   func()
	log    *logged
	next   int // number of the next line
}

// logged is what was logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// hold keeps what is not archived.
var hold = sink.RetentionPolicy{Files: 1, HoldArchive: 1 << 40}

// open opens a log in a directory, which it may have been in before. change may change what is made,
// before the copier runs.
func open(t *testing.T, dir string, p Place, keep sink.RetentionPolicy, change func(*node)) *node {
	t.Helper()
	n := &node{t: t, dir: dir, log: new(logged)}
	log := slog.New(slog.NewTextHandler(n.log, nil))
	n.sink = &sink.Sink{Path: filepath.Join(dir, "all.log"), State: filepath.Join(dir, "state"), Sync: "none", Host: "here",
		Log: log, Retention: keep, Rotation: sink.RotationPolicy{Size: -1}, Disk: &disk.Disk{}}
	var err error
	if n.copier, err = New(n.sink, n.sink.State, p, false, log); err != nil {
		t.Fatal(err)
	}
	n.copier.backoff = retry.Backoff{Min: 5 * time.Millisecond, Max: 100 * time.Millisecond}
	if change != nil {
		change(n)
	}
	if err := n.sink.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.copier.Run(ctx) }) // ends by close
	n.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := n.sink.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// files appends lines, so many files of them.
func (n *node) files(count int) {
	n.t.Helper()
	for range count {
		for range 3 {
			var b wire.Batch
			for range 100 {
				b.Text = fmt.Appendf(b.Text, "line %d\n", n.next)
				n.next++
			}
			b.Host, b.Source, b.Input, b.Time = "web-1", "app", "tcp", time.Now().UnixMicro()
			if err := n.sink.Append(context.Background(), b); err != nil {
				n.t.Fatal(err)
			}
		}
		if _, err := n.sink.Rotate(context.Background()); err != nil {
			n.t.Fatal(err)
		}
	}
}

// archived waits until all closed files are copied.
func (n *node) archived() {
	n.t.Helper()
	for end := time.Now().Add(waittest.Limit); n.copier.Status().Waiting > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("waited in vain for all files to be copied: %+v\n%s", n.copier.Status(), n.log)
		}
	}
}

// says waits until something was logged.
func (n *node) says(text string) {
	n.t.Helper()
	for end := time.Now().Add(waittest.Limit); !strings.Contains(n.log.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("waited in vain for %q:\n%s", text, n.log)
		}
	}
}

var number = regexp.MustCompile(`line ([0-9]+)\n`)

// numbers are the lines that a depot has, which must verify.
func numbers(t *testing.T, p Place) (list []string) {
	t.Helper()
	d, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	reports, err := d.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if !r.OK() || len(r.Notes) > 0 {
			t.Errorf("%s: %q, %q", r.Path, r.Problems, r.Notes)
		}
	}
	files, err := d.Files(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range files {
		r, err := d.Text(context.Background(), m)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		for _, match := range number.FindAllStringSubmatch(string(text), -1) {
			list = append(list, match[1])
		}
	}
	return list
}

// has checks that a depot has these lines, once and in order.
func has(t *testing.T, p Place, from, to int) {
	t.Helper()
	var want []string
	for i := from; i < to; i++ {
		want = append(want, fmt.Sprint(i))
	}
	if got := numbers(t, p); !slices.Equal(got, want) {
		t.Errorf("%d lines are there, want %d to %d: %.200q", len(got), from, to, got)
	}
}

// place is a new directory.
func place(t *testing.T) Place { return Place{Dir: t.TempDir()} }

// objects are the names of the files in a directory.
func objects(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
