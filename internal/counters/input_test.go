package counters

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Each outcome of a line accounts for it, and for nothing else.
func TestInFlight(t *testing.T) {
	in := new(Set).New("x", Key)
	in.Received(21, 210)
	left := int64(21)
	for lines, count := range map[int]func(int){
		1: func(n int) { in.Written(n, 100) }, 2: in.Duplicate, 3: func(n int) { in.Rejected(TooLarge, n) },
		4: func(n int) { in.Rejected("a reason of its own", n) }, 5: in.Unsure, 6: in.Dropped,
	} {
		count(lines)
		left -= int64(lines)
		if n := in.Counts(); n.InFlight() != left {
			t.Errorf("after %d lines more: %d are in flight, want %d", lines, n.InFlight(), left)
		}
	}
	in.Split(3)
	n := in.Counts()
	if n.InFlight() != 0 || n.Split != 3 || n.ReceivedBytes != 210 || n.WrittenBytes != 100 || len(n.Rejected) != 2 {
		t.Errorf("%+v", n)
	}
}

// An input is made once. Where listeners of it promise less, so does the input; an input
// that only a batch names promises nothing.
func TestSet(t *testing.T) {
	s := new(Set)
	strong := s.New("nats", Sequence)
	if weak := s.New("nats", None); weak != strong || s.Of("nats") != strong || strong.Class() != None {
		t.Errorf("%s has the class %s", strong.Name(), strong.Class())
	}
	if s.New("nats", Sequence).Class() != None {
		t.Error("a listener that promises more changed the class")
	}
	s.New("agent", Sequence)
	if s.Of("new").Class() != None || s.Of("agent").Class() != Sequence {
		t.Errorf("the classes are %s and %s", s.Of("new").Class(), s.Of("agent").Class())
	}
	var names []string
	for _, x := range s.All() {
		names = append(names, x.Name())
	}
	if got := strings.Join(names, " "); got != "agent nats new" {
		t.Errorf("the inputs are %s", got)
	}
}

// The class is a label of fanin_input_info, and all reasons are there before they count.
func TestMetrics(t *testing.T) {
	s := new(Set)
	s.New("relp", Run).Rejected("other", 2)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s)
	want := `
# HELP fanin_input_info Always 1; the class is what identifies a repeated line of the input.
# TYPE fanin_input_info gauge
fanin_input_info{class="C",input="relp"} 1
# HELP fanin_rejected_lines_total Lines not written, by reason.
# TYPE fanin_rejected_lines_total counter
fanin_rejected_lines_total{input="relp",reason="other"} 2
fanin_rejected_lines_total{input="relp",reason="other_content"} 0
fanin_rejected_lines_total{input="relp",reason="out_of_place"} 0
fanin_rejected_lines_total{input="relp",reason="raw_format"} 0
fanin_rejected_lines_total{input="relp",reason="retry"} 0
fanin_rejected_lines_total{input="relp",reason="streams"} 0
fanin_rejected_lines_total{input="relp",reason="too_large"} 0
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "fanin_input_info", "fanin_rejected_lines_total"); err != nil {
		t.Error(err)
	}
}
