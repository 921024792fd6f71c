package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"

	"fanin/internal/disk"
	"fanin/internal/wire"
	"fanin/sink"
)

// readFiles reads the files of a log, one after the other, and decompresses those that are compressed.
func readFiles(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "all*.log*"))
	for _, name := range names {
		err = errors.Join(err, readFile(name))
	}
	return err
}

func readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	text := io.Reader(f)
	if strings.HasSuffix(name, ".gz") {
		if text, err = gzip.NewReader(f); err != nil {
			return err
		}
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{text}, make([]byte, 1<<20))
	return err
}

// fillRing makes a log with so many streams. Then it fills the write-ahead log while no checkpoint can be
// written, and kills itself.
func fillRing(dir string, streams int) error {
	var hold atomic.Bool
	d := &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if hold.Load() && op == disk.OpWrite && filepath.Base(path) == "checkpoint" {
			select {} // until it is killed
		}
		return 0, nil
	}}
	s := &sink.Sink{Path: filepath.Join(dir, "all.log"), State: filepath.Join(dir, "state"), Disk: d}
	if err := s.Open(context.Background()); err != nil {
		return err
	}
	if err := eachStream(streams, func(i int) error {
		return s.Append(context.Background(), wire.Batch{Op: wire.OpOpen, Stream: ringStream(i), Epoch: 1, Agent: fmt.Sprint("agent-", i%1000),
			Host: fmt.Sprint("host-", i%1000), Source: fmt.Sprint("app-", i%10), Control: wire.Control{Identity: fmt.Appendf(nil, "%064d", i)}, Input: "agent"})
	}); err != nil {
		return err
	}
	if err := s.Checkpoint(context.Background()); err != nil {
		return err
	}
	hold.Store(true)
	text, _ := newBlock(0).take(100)
	var appended atomic.Int64
	go eachStream(streams, func(i int) error { // ends with the process
		err := s.Append(context.Background(), wire.Batch{Stream: ringStream(i), Epoch: 1, Agent: fmt.Sprint("agent-", i%1000), Input: "agent",
			End: int64(len(text)), Before: wire.TailHash(nil), After: wire.TailHash(text), Time: time.Now().UnixMicro(), Text: text})
		appended.Add(1)
		return err
	})
	for before := int64(-1); before != appended.Load(); time.Sleep(time.Second) {
		before = appended.Load()
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// ringStream is the id of a stream.
func ringStream(i int) (id wire.StreamID) {
	copy(id[:], fmt.Sprintf("%016d", i))
	return id
}

// eachStream calls a function for each of so many streams, 64 at a time.
func eachStream(streams int, do func(i int) error) error {
	const workers = 64
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { // ends with its streams
			for i := w; i < streams && errs[w] == nil; i += workers {
				errs[w] = do(i)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// sendMany sends lines over very many connections, which take turns, as fast as they are taken. Each
// connection sends as many lines at a time however many there are in all. The numbers of the lines repeat.
// With the text "story", so does the text of a sender, after storyBlockSize bytes.
func sendMany(address string, conns, lines int, text string) error {
	peers := make([]net.Conn, conns)
	for i := range peers {
		var err error
		if peers[i], err = net.Dial("tcp", address); err != nil {
			return err
		}
		defer peers[i].Close()
	}
	of := newBlock
	if text == "story" {
		of = storyBlock
	}
	const most = 8
	senders := min(conns, most)
	blocks := make([]*block, senders)
	for i := range blocks {
		blocks[i] = of(i)
	}
	if err := onWord(); err != nil {
		return err
	}
	errs := make([]error, senders)
	var all sync.WaitGroup
	for i := range senders {
		share := lines / senders
		if i == 0 {
			share += lines % senders
		}
		all.Go(func() { errs[i] = takeTurns(peers, blocks[i], i, senders, share) }) // ends with its lines
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return onWord()
}

// takeTurns sends lines over every so manieth connection.
func takeTurns(peers []net.Conn, b *block, first, step, left int) error {
	turn := max(1, min(len(b.ends), 1_000_000/len(peers)))
	for i := first; left > 0; i += step {
		if i >= len(peers) {
			i = first
		}
		n := min(turn, left)
		if _, err := peers[i].Write(b.text[:b.ends[n-1]]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}
