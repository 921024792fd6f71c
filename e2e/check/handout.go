package check

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"fanin/e2e/load"
)

// HandOut holds what workers of one group noted, and the group's dead letters,
// against the lines that were kept: each ends with exactly one accepted answer or
// among the dead letters, and is not handed out any more after that.
type HandOut struct {
	Ledgers []string    // of all workers, see e2e/ledgerworker
	Dead    []string    // files of dead letters; one that is not there is empty
	Kept    map[int]int // how many lines of each source must have been handed out, from the first one
	Ordered bool        // answers to lines of one source are accepted in their order
	Cluster bool        // the positions of dead letters are those of a partition's log, and workers know others
}

// HandOutResult is what came of it. Lost, Doubled, Late and Reordered should be 0.
type HandOutResult struct {
	Lines     int // that were handed out
	Accepted  int // and a worker was told that its answer is
	Untold    int // whose acceptance no worker lived to hear
	Dead      int
	Again     int // times that lines were handed out again
	Lost      int // without an answer
	Doubled   int // with two
	Late      int // handed out after they were accepted
	Reordered int
	First     []string
}

// OK reports whether all is as it should be.
func (r *HandOutResult) OK() bool { return r.Lost+r.Doubled+r.Late+r.Reordered == 0 }

func (r *HandOutResult) String() string {
	return fmt.Sprintf("lines=%d accepted=%d untold=%d dead=%d again=%d lost=%d doubled=%d late=%d reordered=%d",
		r.Lines, r.Accepted, r.Untold, r.Dead, r.Again, r.Lost, r.Doubled, r.Late, r.Reordered)
}

func (r *HandOutResult) say(format string, args ...any) {
	if len(r.First) < mostFirst {
		r.First = append(r.First, fmt.Sprintf(format, args...))
	}
}

// handed is the history of one line.
type handed struct {
	src, seq int
	position string
	times    []int64 // when it was given
	acked    []int64 // when answers were sent
	accepted []int64 // when workers were told
	answered int64   // when the answer that was accepted was sent
	dead     int
}

// delivery is what a ledger knows of one.
type deliveryKey struct {
	file       int
	session, n int64
}

type handOut struct {
	*HandOut
	result     HandOutResult
	lines      map[string]*handed // by position
	bySource   map[[2]int]*handed
	deliveries map[deliveryKey][]*handed
	acks       map[deliveryKey][]int64 // by line: when
}

// Check reads everything.
func (h *HandOut) Check() (*HandOutResult, error) {
	c := &handOut{HandOut: h, lines: make(map[string]*handed), bySource: make(map[[2]int]*handed),
		deliveries: make(map[deliveryKey][]*handed), acks: make(map[deliveryKey][]int64)}
	for i, path := range h.Ledgers {
		if err := c.ledger(i, path); err != nil {
			return nil, err
		}
	}
	for _, path := range h.Dead {
		if err := c.deadLetters(path); err != nil {
			return nil, err
		}
	}
	c.judge()
	if h.Ordered {
		c.order()
	}
	return &c.result, nil
}

func (c *handOut) ledger(file int, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for text := range bytes.Lines(b) {
		if text[len(text)-1] != '\n' {
			break // it was killed while it wrote; so the step was not taken
		}
		fields := bytes.Fields(text)
		var at, from, to int64
		key := deliveryKey{file: file}
		if len(fields) < 5 {
			return fmt.Errorf("%s: %q", path, text)
		}
		if _, err := fmt.Sscan(string(fields[1]), &at); err != nil {
			return fmt.Errorf("%s: %q: %w", path, text, err)
		}
		fmt.Sscan(string(fields[2]), &key.session)
		fmt.Sscan(string(fields[3]), &key.n)
		if string(fields[0]) == "D" {
			c.given(key, at, fields[5:])
			continue
		}
		fmt.Sscan(string(fields[4]), &from)
		fmt.Sscan(string(fields[5]), &to)
		lines := c.deliveries[key]
		if int(to) > len(lines) {
			return fmt.Errorf("%s: %q of a delivery of %d lines", path, text, len(lines))
		}
		for i := from; i < to; i++ {
			if string(fields[0]) == "A" {
				c.acks[key][i] = at
				lines[i].acked = append(lines[i].acked, at)
			} else {
				lines[i].accepted = append(lines[i].accepted, at)
				lines[i].answered = c.acks[key][i]
			}
		}
	}
	return nil
}

func (c *handOut) given(key deliveryKey, at int64, fields [][]byte) {
	var lines []*handed
	for _, f := range fields {
		parts := bytes.Split(f, []byte{','})
		position := string(parts[0])
		line := c.lines[position]
		if line == nil {
			line = &handed{position: position}
			fmt.Sscan(string(parts[1]), &line.src)
			fmt.Sscan(string(parts[2]), &line.seq)
			c.lines[position] = line
			if line.src >= 0 {
				if other := c.bySource[[2]int{line.src, line.seq}]; other != nil {
					c.result.Doubled++
					c.result.say("line %d of source %d stands at %s and at %s", line.seq, line.src, other.position, position)
				}
				c.bySource[[2]int{line.src, line.seq}] = line
			}
		}
		line.times = append(line.times, at)
		lines = append(lines, line)
	}
	c.deliveries[key], c.acks[key] = lines, make([]int64, len(lines))
}

func (c *handOut) deadLetters(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var l struct{ Position, Line, Reason string }
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return fmt.Errorf("%s: %q: %w", path, s.Text(), err)
		}
		_, body, _ := bytes.Cut([]byte(l.Line), []byte(": "))
		src, seq, err := load.Parse(body)
		line := c.lines[l.Position]
		if c.Cluster && err == nil {
			line = c.bySource[[2]int{src, seq}]
		}
		if line == nil {
			return fmt.Errorf("%s: %s was never handed out", path, l.Position)
		}
		if line.src >= 0 && (err != nil || src != line.src || seq != line.seq) {
			return fmt.Errorf("%s: %s holds another line: %q", path, l.Position, l.Line)
		}
		line.dead++
	}
	return s.Err()
}

// slack is how much later than an acceptance a ledger may still note a delivery
// that was on its way before.
const slack = int64(2e9)

func (c *handOut) judge() {
	r := &c.result
	for _, l := range c.lines {
		r.Lines++
		r.Again += len(l.times) - 1
		r.Dead += l.dead
		switch ends := len(l.accepted) + l.dead; {
		case ends > 1:
			r.Doubled++
			r.say("%s (line %d of source %d) was accepted %d times and put to the dead letters %d times", l.position, l.seq, l.src, len(l.accepted), l.dead)
		case len(l.accepted) == 1:
			r.Accepted++
		case l.dead == 1:
		case len(l.acked) > 0:
			r.Untold++
		default:
			r.Lost++
			r.say("%s (line %d of source %d) was handed out %d times and never answered", l.position, l.seq, l.src, len(l.times))
		}
		if len(l.accepted) > 0 && slices.Max(l.times) > l.accepted[0]+slack {
			r.Late++
			r.say("%s was handed out again after it was accepted", l.position)
		}
	}
	for src, n := range c.Kept {
		for seq := range n {
			if c.bySource[[2]int{src, seq}] == nil {
				r.Lost++
				r.say("line %d of source %d was never handed out", seq, src)
			}
		}
	}
}

// counted returns, in their order, when the answer that counted may have been sent. A worker that was slow for
// longer than its lease answers lines that another one has answered by now, which the collector refuses. If no
// worker lived to hear of an acceptance, the ledgers do not tell which answer was refused.
func (l *handed) counted() []int64 {
	if l.answered > 0 {
		return []int64{l.answered}
	}
	return slices.Sorted(slices.Values(l.acked))
}

// order holds the answers that counted against the order of each source.
func (c *handOut) order() {
	all := slices.SortedFunc(maps.Values(c.bySource), func(a, b *handed) int {
		return cmp.Or(a.src-b.src, a.seq-b.seq)
	})
	var before *handed
	var was int64
	for _, l := range all {
		times := l.counted()
		if l.dead > 0 || len(times) == 0 {
			continue
		}
		if before != nil && before.src != l.src {
			was = 0
		}
		i, _ := slices.BinarySearch(times, was) // the first that keeps the order leaves most to those behind it
		if i == len(times) {
			c.result.Reordered++
			c.result.say("line %d of source %d was acknowledged before line %d", l.seq, l.src, before.seq)
			i--
		}
		before, was = l, times[i]
	}
}
