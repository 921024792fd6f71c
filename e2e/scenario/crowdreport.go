package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// CrowdReport is how a day of a crowd went.
type CrowdReport struct {
	check.Result
	Connected, Start    time.Duration // until all were connected; until a collector that was killed accepts lines
	Back, Caught        time.Duration // after a kill, until all have a session, and until no more lines wait than before
	Behind              [2]int        // lines that waited, at the beginning and at the end of the steady part
	Lines, Batches      int           // acknowledged in the steady part
	Took                time.Duration // the steady part
	P50, P99, Max       time.Duration // from due to visible, in the steady part
	Collector           rig.Usage     // CPU and RSS in the steady part; Peak also when all come back
	Crowd               time.Duration // CPU of the agents there, without the reader's
	Metrics, Status     time.Duration // until answered
	Checkpoint          time.Duration // a rotation, which waits for one
	State, MetricsBytes int64         // of the catalog log; of an answer
}

// String is the report in a few lines.
func (r *CrowdReport) String() string {
	perLine := func(t time.Duration, n int) float64 { return float64(t.Microseconds()) / float64(max(n, 1)) }
	return fmt.Sprintf("%s\n  %.0f lines/s in %.0f batches/s; behind %d, then %d; visible p50 %.1f p99 %.1f max %.1f ms\n"+
		"  collector: %.1f us a batch, %.2f us a line, %.2f of a core, %d MiB, peak %d MiB; agents: %.2f us a line\n"+
		"  connected in %.2f s; after kill -9: lines after %.2f s, all back after %.2f s, caught up after %.2f s\n"+
		"  /metrics %.1f ms, %d KiB; status %.1f ms; checkpoint with a rotation %.1f ms, catalog log %d KiB",
		r.Result.String(), float64(r.Lines)/r.Took.Seconds(), float64(r.Batches)/r.Took.Seconds(), r.Behind[0], r.Behind[1],
		ms(r.P50), ms(r.P99), ms(r.Max), perLine(r.Collector.CPU, r.Batches), perLine(r.Collector.CPU, r.Lines),
		r.Collector.CPU.Seconds()/r.Took.Seconds(), r.Collector.RSS>>20, r.Collector.Peak>>20, perLine(r.Crowd, r.Lines),
		r.Connected.Seconds(), r.Start.Seconds(), r.Back.Seconds(), r.Caught.Seconds(),
		ms(r.Metrics), r.MetricsBytes>>10, ms(r.Status), ms(r.Checkpoint), r.State>>10)
}

func ms(t time.Duration) float64 { return float64(t.Microseconds()) / 1000 }

// moment of the steady part.
type crowdMoment struct {
	at        time.Time
	state     load.CrowdState
	collector rig.Usage
	own       time.Duration // CPU of this process without the reader
}

func (d *crowdDay) now() crowdMoment {
	return crowdMoment{time.Now(), d.Crowd.State(time.Time{}), rig.UsageOf(d.collector.PID()),
		rig.UsageOf(os.Getpid()).CPU - d.arrivals.Spent()}
}

// steady measures while nothing else happens.
func (d *crowdDay) steady() {
	d.arrivals.TakeDelays()
	begin := d.now()
	for last := begin; time.Since(begin.at) < d.For; {
		time.Sleep(min(10*time.Second, d.For-time.Since(begin.at)))
		now := d.now()
		d.Say("%4.0f s: %d lines and %d batches acknowledged, %d behind, %d MiB, %.2f of a core", now.at.Sub(begin.at).Seconds(),
			now.state.Acked-last.state.Acked, now.state.Batches-last.state.Batches, now.state.Behind, now.collector.RSS>>20,
			(now.collector.CPU-last.collector.CPU).Seconds()/now.at.Sub(last.at).Seconds())
		last = now
	}
	end, r := d.now(), &d.report
	delays := d.arrivals.TakeDelays()
	r.P50, r.P99, r.Max = delays.Least(0.5), delays.Least(0.99), delays.Max
	r.Took, r.Lines = end.at.Sub(begin.at), end.state.Acked-begin.state.Acked
	r.Batches, r.Behind = end.state.Batches-begin.state.Batches, [2]int{begin.state.Behind, end.state.Behind}
	r.Collector = rig.Usage{CPU: end.collector.CPU - begin.collector.CPU, RSS: end.collector.RSS, Peak: end.collector.Peak}
	r.Crowd = end.own - begin.own
	d.ask()
}

// ask measures what questions cost while lines come.
func (d *crowdDay) ask() {
	r := &d.report
	took := func(method, path string, into any) time.Duration {
		begin := time.Now()
		if err := d.collector.Ask(method, path, into); err != nil {
			d.Say("%s %s: %v", method, path, err)
		}
		return time.Since(begin)
	}
	var text string
	r.Metrics = took("GET", "/metrics", &text)
	r.MetricsBytes = int64(len(text))
	r.Status = took("GET", "/status", &text)
	r.Checkpoint = took("POST", "/rotate", nil)
	tables, _ := filepath.Glob(filepath.Join(d.collector.State, "table-*"))
	for _, path := range tables {
		if fi, err := os.Stat(path); err == nil {
			r.State += fi.Size()
		}
	}
}
