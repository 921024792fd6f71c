package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanin/internal/units"
)

// Resolve finds the position that from names: "start", "end", a time as RFC 3339
// has it, a time span before now such as "10m" or "2d", or a position.
func (s *Sink) Resolve(ctx context.Context, from string) (Position, error) {
	switch from {
	case "", "end":
		return s.End(), nil
	case "start":
		return s.start(), nil
	}
	if at, err := ParsePosition(from); err == nil {
		_, _, err := s.generationAt(at)
		return at, err
	}
	t, err := ParseTime(from, time.Now())
	if err != nil {
		return Position{}, err
	}
	return s.Since(ctx, t)
}

// ParseTime reads a time, or how long before now it was.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := units.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is %w: want start, end, a time (2026-11-22T17:00:00Z), "+
		"a duration before now (10m, 2d) or a position (3:4096)", text, ErrNotInLog)
}

// ErrNotInLog is the error for a text that names no position in any log.
var ErrNotInLog = errors.New("not a position in a log")

// start is the position of the oldest line.
func (s *Sink) start() Position {
	g, _, _ := s.generationAt(Position{})
	return Position{Generation: g.Number}
}

// files lists the files of the log, oldest first. The live one's size is as much
// as can be read.
func (s *Sink) files() []Generation {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	all := s.view.catalog.list()
	all[len(all)-1].Size = s.view.size
	return all
}

// Since is a position before all lines that bear this time or a later one, and
// behind most others: that of the first batch that was read so late. It looks
// into one ledger, whatever the log weighs, and reads little of that (see timeIndex). Agents
// whose clocks differ from the collector's are found as far as those agree.
func (s *Sink) Since(ctx context.Context, t time.Time) (Position, error) {
	all := s.files()
	for i, g := range all {
		live := i == len(all)-1
		if !live && (g.Closed.Before(t) || !g.readable()) {
			continue
		}
		at, ok, err := s.firstRecord(ctx, g.Number, t.UnixMicro())
		if err != nil {
			return Position{}, err
		}
		if ok || live {
			return Position{g.Number, min(at, g.Size)}, nil
		}
	}
	return s.End(), nil
}
