package collector

import (
	"bytes"
	"context"
	"io"
	"time"

	"fanin/sink"
	"fanin/sink/merge"
)

// ofCluster reports whether the lines of all partitions of a cluster are wanted, from the files of this machine.
func (t *tailer) ofCluster() bool {
	if t.connect != "" || t.o.config == "" || t.o.partition != "" {
		return false
	}
	cfg, err := t.o.load() // an error comes again
	return err == nil && cfg.Collector.Cluster != nil
}

// cluster shows the lines of all partitions as one.
func (t *tailer) cluster(ctx context.Context, stdout io.Writer) error {
	x := &cat{o: t.o, stderr: t.stderr, catOptions: catOptions{lineFilter: t.lineFilter, since: t.since,
		output: t.output, follow: !t.noFollow, color: t.color, highlight: t.highlight}}
	switch {
	case t.since != "" || t.from == "start":
	case t.from == "":
		x.last = &lastLines{max: t.n}
	case t.from == "end":
		x.last = new(lastLines)
	default:
		if _, err := sink.ParseTime(t.from, time.Now()); err == nil {
			x.since = t.from
		} else {
			x.from = t.from
		}
	}
	return x.run(ctx, stdout)
}

// lastLines keeps the last lines of several logs.
type lastLines struct {
	max   int
	lines [][]byte // as they will be printed; up to twice as many
}

func (l *lastLines) add(line []byte) {
	if l.lines = append(l.lines, bytes.Clone(line)); len(l.lines) >= 2*max(l.max, 1) {
		l.cut()
	}
}

func (l *lastLines) cut() { l.lines = l.lines[:copy(l.lines, l.lines[max(0, len(l.lines)-l.max):])] }

// maxLookBack is how many bytes of each log are looked at for the last lines.
const maxLookBack = 256 << 20

// printLast prints the last lines of partitions, and returns the places behind them.
func (x *cat) printLast(ctx context.Context, all []catPartition) (merge.Places, error) {
	var logs []merge.Log
	var places merge.Places
	for _, p := range all {
		at, err := p.back(ctx, x)
		if err != nil {
			return nil, err
		}
		log, err := merge.NewPartition(ctx, at, p.tenures)
		if err != nil {
			return nil, err
		}
		defer log.Close() // after the merge
		logs, places = append(logs, log), append(places, at)
	}
	m := merge.New(logs, places, merge.Options{})
	defer m.Close()
	x.out.last = x.last
	err := x.copy(ctx, m)
	x.out.last = nil
	for x.last.cut(); err == nil && len(x.last.lines) > 0; x.last.lines = x.last.lines[1:] {
		err = x.out.line(x.last.lines[0])
	}
	return m.Places(), err
}

// back is the place at which the last lines of a partition begin that are wanted, in its last tenure.
func (p *catPartition) back(ctx context.Context, x *cat) (merge.Place, error) {
	t := p.tenures[len(p.tenures)-1]
	at, err := t.To, error(nil)
	if at == (sink.Position{}) {
		at, err = t.Log.End(ctx)
	}
	if log, ok := t.Log.(merge.Observed); ok && err == nil && x.last.max > 0 {
		at, err = log.Back(ctx, at, x.last.max, x.out.matcher(), maxLookBack)
	}
	if at.Compare(t.From) < 0 {
		at = t.From
	}
	return merge.Place{Partition: p.number, Epoch: t.Epoch, At: at}, err
}
