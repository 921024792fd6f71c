package distribute

import (
	"time"

	"fanin/sink"
	"fanin/sink/distribute/protocol"
)

// delivery is the lines that were handed to one worker in one frame, not always
// neighbours, until each has its answer. Their text is not kept: if they have to go out
// again, the file still has them.
type delivery struct {
	n        uint64
	attempts int // that failed before this one
	runs     []run
	ends     []uint32 // where each line ends in the text
	answered []uint64 // one bit for each line; nil: none yet
	left     int      // lines without an answer
	deadline time.Time
	sent     bool   // or being written
	text     []byte // until it is sent
}

// run is a part of the log without gaps: the lines first to next-1 of the delivery.
type run struct {
	generation  uint64
	from, to    int64
	text        uint32 // offset in the delivery's text
	first, next int
}

// late reports whether the lease of open lines has ended.
func (d *delivery) late(now time.Time) bool { return d.left > 0 && now.After(d.deadline) }

// add adds a line that extends from at to byte to of the log.
func (d *delivery) add(line []byte, at sink.Position, to int64) {
	if last := len(d.runs) - 1; last >= 0 && d.runs[last].generation == at.Generation && d.runs[last].to == at.Offset {
		d.runs[last].to = to
		d.runs[last].next++
	} else {
		d.runs = append(d.runs, run{at.Generation, at.Offset, to, uint32(len(d.text)), d.left, d.left + 1})
	}
	d.text = append(d.text, line...)
	d.ends = append(d.ends, uint32(len(d.text)))
	d.left++
}

// head appends the frame without its text.
func (d *delivery) head(b []byte) []byte {
	f := protocol.Frame{Kind: protocol.KindLines, N: d.n, Attempt: d.attempts + 1}
	f.Runs = make([]protocol.Run, len(d.runs))
	for i, r := range d.runs {
		f.Runs[i] = protocol.Run{Generation: r.generation, Offset: r.from, Length: int64(d.ends[r.next-1] - r.text)}
	}
	return protocol.AppendLinesHead(b, &f, len(d.text))
}

func (d *delivery) isAnswered(i int) bool {
	return d.answered != nil && d.answered[i/64]&(1<<(i%64)) != 0
}

// lineRange is lines from to to-1 of a delivery.
type lineRange struct{ from, to int }

// answer marks lines as answered and returns those that were not before.
func (d *delivery) answer(from, to int) (fresh []lineRange) {
	if d.left == len(d.ends) && from == 0 && to == len(d.ends) {
		d.left = 0
		return []lineRange{{from, to}}
	}
	if d.left == 0 {
		return nil
	}
	if d.answered == nil {
		d.answered = make([]uint64, (len(d.ends)+63)/64)
	}
	for i := from; i < to; i++ {
		if d.isAnswered(i) {
			continue
		}
		d.answered[i/64] |= 1 << (i % 64)
		d.left--
		if last := len(fresh) - 1; last >= 0 && fresh[last].to == i {
			fresh[last].to = i + 1
		} else {
			fresh = append(fresh, lineRange{i, i + 1})
		}
	}
	return fresh
}

// open returns the lines that have no answer.
func (d *delivery) open() (list []lineRange) {
	if d.left == 0 {
		return nil
	}
	if d.left == len(d.ends) {
		return []lineRange{{0, len(d.ends)}}
	}
	for i := range d.ends {
		if d.isAnswered(i) {
			continue
		}
		if last := len(list) - 1; last >= 0 && list[last].to == i {
			list[last].to = i + 1
		} else {
			list = append(list, lineRange{i, i + 1})
		}
	}
	return list
}

// spans returns where lines are in the log.
func (d *delivery) spans(lines lineRange, attempts int) (list spans) {
	for _, r := range d.runs {
		from, to := max(lines.from, r.first), min(lines.to, r.next)
		if from >= to {
			continue
		}
		s := span{generation: r.generation, from: r.from, to: r.to, lines: to - from, attempts: attempts}
		if from > r.first {
			s.from = r.from + int64(d.ends[from-1]-r.text)
		}
		if to < r.next {
			s.to = r.from + int64(d.ends[to-1]-r.text)
		}
		list = append(list, s)
	}
	return list
}
