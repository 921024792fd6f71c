package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"fanin/e2e/load"
	"fanin/internal/ship"
	"fanin/internal/wire"
)

// victim is an agent that sends at a steady rate, and measures what becomes of
// it while others misbehave.
type victim struct {
	ship   *ship.TCP
	stream wire.StreamID
	at     wire.Point
	seq    int
	text   int64 // bytes sent
	stop   context.CancelFunc
	ended  sync.WaitGroup
}

const (
	linesASecond = 20_000
	batchEvery   = 10 * time.Millisecond
	batchLines   = linesASecond / int(time.Second/batchEvery)
)

// newVictim connects an agent to addr.
func newVictim(ctx context.Context, addr string) (*victim, error) {
	v := &victim{stream: wire.NewStreamID(), ship: &ship.TCP{Addrs: []string{addr}, Compress: "none",
		Hello: wire.Hello{Agent: "victim", Instance: wire.NewStreamID(), Run: 1, Host: "victim"}}}
	ctx, v.stop = context.WithCancel(ctx)
	v.ended.Go(func() { v.ship.Run(ctx) }) // ends by close
	opening, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := v.ship.Append(opening, wire.Batch{Op: wire.OpOpen, Stream: v.stream, Source: "victim"}); err != nil {
		v.close()
		return nil, fmt.Errorf("open the victim's stream: %w", err)
	}
	return v, nil
}

func (v *victim) close() {
	v.stop()
	v.ended.Wait()
}

// measured is how a victim fared: the share of its rate that was acknowledged, and
// how late the acknowledgements came, counted from when the lines were due.
type measured struct {
	rate       float64
	p99, worst time.Duration
	errors     int
}

// run sends for as long as d.
func (v *victim) run(ctx context.Context, d time.Duration) (m measured, err error) {
	var late []time.Duration
	acked := 0
	began := time.Now()
	for due := began; due.Sub(began) < d; due = due.Add(batchEvery) {
		time.Sleep(time.Until(due))
		text := load.Seed(0).Block(nil, 1, v.seq, batchLines)
		b := wire.Batch{Stream: v.stream, Time: time.Now().UnixMicro(), Offset: v.at.Offset, End: v.at.Offset + int64(len(text)),
			Before: v.at.Tail, After: wire.TailHash(text[max(0, len(text)-wire.TailSize):]), Text: text}
		for {
			one, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := v.ship.Append(one, b)
			cancel()
			if err == nil {
				break
			}
			if m.errors++; ctx.Err() != nil || m.errors > 50 {
				return m, fmt.Errorf("the victim gets nothing through: %w", err)
			}
		}
		v.at = wire.Point{Offset: b.End, Tail: b.After}
		v.seq += batchLines
		v.text += int64(len(text))
		if time.Since(began) < d+batchEvery {
			acked += batchLines
		}
		late = append(late, time.Since(due))
	}
	slices.Sort(late)
	m.rate = float64(acked) / (float64(linesASecond) * d.Seconds())
	m.p99, m.worst = late[len(late)*99/100], late[len(late)-1]
	return m, nil
}

// laidOut is about how many bytes of the log the victim's lines take.
func (v *victim) laidOut() int64 {
	const prefix = "2026-11-22T17:00:00.123456Z victim victim: "
	return v.text + int64(v.seq*len(prefix))
}
