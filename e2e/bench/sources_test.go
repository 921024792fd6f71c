package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestRecords: each line is whole behind its head, and no two records have one time.
func TestRecords(t *testing.T) {
	const lines = 3000 // more than a block
	for _, f := range []struct {
		name, end string
		head      func([]byte, int) []byte
		tail      string
		time      func(record string) string
	}{
		{"cri", "\n", criHead, "", func(r string) string {
			at, rest, _ := strings.Cut(r, " ")
			when, err := time.Parse(time.RFC3339Nano, at)
			if err != nil || when.Format(time.RFC3339Nano) != at || !strings.HasPrefix(rest, "stdout F @") {
				t.Fatalf("%.80q: %v", r, err)
			}
			return at
		}},
		{"export", "\n\n", exportHead, "\n", func(r string) string {
			if !strings.Contains(r, "\nMESSAGE=@") || strings.Contains(r, "%!") {
				t.Fatalf("%q", r)
			}
			at, _, _ := strings.Cut(r, "\n")
			return at
		}},
	} {
		t.Run(f.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := records(&out, lines, f.head, f.tail); err != nil {
				t.Fatal(err)
			}
			c, before := newCounter(1, lines), ""
			for _, r := range strings.Split(strings.TrimSuffix(out.String(), f.end), f.end) {
				at := f.time(r)
				if at <= before {
					t.Fatalf("the time after %s is %s", before, at)
				}
				before = at
				c.line([]byte(r))
			}
			if got := c.end(); got != (tally{Lines: lines}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestSourceGoals: a pipe is held against send of the same round, CRI against a number.
func TestSourceGoals(t *testing.T) {
	b := &bench{}
	for _, f := range []struct {
		workload, subject string
		seconds           float64
	}{
		{sourcePipe, "pipe", 2}, {sourcePipe, "send", 1},
		{sourcePipe, "pipe", 3}, {sourcePipe, "send", 2.1}, {sourceCRI, "cri", 2},
	} {
		b.results.add(f.workload, f.subject, sample{tally: tally{Lines: 6_000_000}, Seconds: f.seconds})
	}
	var got []bool
	for _, g := range b.goals() {
		got = append(got, g.met())
	}
	if len(got) != 2 || !got[0] || !got[1] {
		t.Errorf("%+v", b.goals())
	}
	b.results.find(sourcePipe, "pipe").samples[1].Seconds = 4
	if g := b.goals()[0]; g.met() {
		t.Errorf("%+v", g)
	}
}
