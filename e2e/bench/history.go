package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/wire"
	"fanin/sink"
)

const (
	historyDays    = 30
	historyFiles   = 80
	historyHosts   = 20
	historySources = 10
	historyWriters = 256 // batches that wait at a time
)

// history writes the log of a month: each line is a batch of its own, and 200 hosts and sources take turns.
type history struct {
	sink   *sink.Sink
	text   []byte // lines are parts of it
	lines  int
	length int // bytes of a line's text
	begin  time.Time
}

// makeHistory makes a log of so many bytes and lines in dir: all.log with its files, of which the older three
// quarters are compressed, and state.
func makeHistory(dir string, size, lines int) error {
	ctx := context.Background()
	policies := sink.Policies{Rotation: sink.RotationPolicy{Size: int64(max(size/historyFiles, 1<<20))}, Retention: sink.RetentionPolicy{Bytes: -1}}
	s := &sink.Sink{Path: filepath.Join(dir, "all.log"), State: filepath.Join(dir, "state"), Sync: "none",
		Rotation: policies.Rotation, Retention: policies.Retention}
	if err := s.Open(ctx); err != nil {
		return err
	}
	const before = len("2006-01-02T15:04:05.000000Z web-10 app-1: \n")
	h := &history{sink: s, text: newStory(1).append(nil, 4*storyBlockSize), lines: lines, length: max(size/lines-before, 1),
		begin: time.Now().AddDate(0, 0, -historyDays)}
	err := h.write(ctx, 0, lines*3/4)
	for err == nil && h.waits() {
		time.Sleep(100 * time.Millisecond)
	}
	policies.Retention.Compress = "none"
	err = errors.Join(err, s.Use(ctx, policies))
	if err == nil {
		err = h.write(ctx, lines*3/4, lines)
	}
	for err == nil {
		done, herr := s.Histogram(ctx, sink.HistogramQuery{})
		if err = herr; err != nil || done.Complete {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if text, ratio, serr := sizes(dir, s.Status().Generations); serr == nil {
		fmt.Printf("%d MiB of text in %d files, %d lines, text : gzip %.1f\n", text>>20, len(s.Status().Generations), lines, ratio)
	}
	return errors.Join(err, s.Close(ctx))
}

// waits reports whether files wait to be compressed: all but the live one, and the newest of the others.
func (h *history) waits() bool {
	plain := 0
	for _, g := range h.sink.Status().Generations {
		if g.State == "plain" {
			plain++
		}
	}
	return plain > 1
}

// write appends the lines from one number up to another.
func (h *history) write(ctx context.Context, from, to int) error {
	var next atomic.Int64
	next.Store(int64(from))
	errs := make([]error, historyWriters)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { // ends with the lines
			line := make([]byte, h.length+1)
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= to {
					return
				}
				errs[i] = h.sink.Append(ctx, h.batch(n, line))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// batch is that of line n. Its text is a place in the text that lines do not reach again for long.
func (h *history) batch(n int, line []byte) wire.Batch {
	at := n * 7919 * 31 % (len(h.text) - len(line))
	line[copy(line, h.text[at:at+h.length])] = '\n'
	series := n % (historyHosts * historySources)
	return wire.Batch{Input: "tcp", Host: historyName("web-", series%historyHosts), Source: historyName("app-", series/historyHosts), Text: line,
		Time: h.begin.Add(time.Duration(float64(n) / float64(h.lines) * historyDays * 24 * float64(time.Hour))).UnixMicro()}
}

func historyName(kind string, n int) string { return kind + string(rune('a'+n)) }
