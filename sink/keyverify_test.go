package sink

import (
	"strings"
	"testing"

	"fanin/internal/wire"
)

// verifyKeys has a verifier look at records: id, offset and end of each; an end below 0
// is that of a whole request.
func verifyKeys(c *catalog, records ...[3]int64) *verifier {
	v := &verifier{catalog: c, keys: make(map[wire.StreamID]int64), problems: make(map[problemKind]int)}
	for _, x := range records {
		r := &record{stream: idOf(byte(x[0])), key: true, lines: 1, offset: x[1], end: max(x[2], -x[2]), whole: x[2] < 0}
		v.placeKey(c.generations[len(c.generations)-1], r)
	}
	v.keyMarks()
	return v
}

// Requests with a gap, or that go on where they cannot, are found. One that begins
// again is not.
func TestVerifyKeys(t *testing.T) {
	c := func(states ...string) *catalog {
		c := newCatalog()
		for i, state := range states {
			c.generations = append(c.generations, &generation{number: uint64(i + 1), name: "all.log", state: state})
		}
		return c
	}
	all, younger := c(statePlain, stateLive), c(statePlain, stateLive)
	younger.generations = younger.generations[1:]
	known := c(stateLive)
	known.keys.open(keyEntry{id: idOf(1), content: hashBytes(9), records: 3}, 1)
	for _, x := range []struct {
		name    string
		catalog *catalog
		records [][3]int64
		want    string // problem; "" none
		report  KeyReport
	}{
		{"whole, and again", all, [][3]int64{{1, 0, -4}, {2, 0, -1}, {1, 0, -4}}, "", KeyReport{3, 3, 0}},
		{"in parts, with others between", all, [][3]int64{{1, 0, 2}, {2, 0, 1}, {1, 2, -4}, {2, 1, -9}}, "", KeyReport{2, 4, 0}},
		{"half, and again", all, [][3]int64{{1, 0, 2}, {1, 0, 3}}, "", KeyReport{2, 2, 1}},
		{"a gap", all, [][3]int64{{1, 0, 2}, {1, 3, -4}}, "continues with record 3 at byte 0; record 2 should follow", KeyReport{1, 2, 0}},
		{"a repeat", all, [][3]int64{{1, 0, 2}, {1, 1, -4}}, "continues with record 1", KeyReport{1, 2, 0}},
		{"behind its end", all, [][3]int64{{1, 0, -2}, {1, 1, -2}}, "has no beginning or was complete", KeyReport{1, 2, 0}},
		{"begun in a file that is gone", younger, [][3]int64{{1, 1, -2}}, "", KeyReport{0, 1, 0}},
		{"begun in a file that was lost", c(stateLost, stateLive), [][3]int64{{1, 1, -2}}, "", KeyReport{0, 1, 0}},
		{"begun in a file that is removed", c(stateRemoved, stateLive), [][3]int64{{1, 1, -2}}, "", KeyReport{0, 1, 0}},
		{"as the table says", known, [][3]int64{{1, 0, 3}, {2, 0, 1}}, "", KeyReport{2, 2, 2}},
		{"otherwise than the table says", known, [][3]int64{{1, 0, 2}}, "is known up to record 3, the log holds it up to 2", KeyReport{1, 1, 1}},
	} {
		v := verifyKeys(x.catalog, x.records...)
		problems := strings.Join(v.report.Problems, "; ")
		if x.want == "" && problems != "" || !strings.Contains(problems, x.want) {
			t.Errorf("%s: %q, want %q", x.name, problems, x.want)
		}
		if *v.report.Keys != x.report {
			t.Errorf("%s: %+v, want %+v", x.name, *v.report.Keys, x.report)
		}
	}
	if v := verifyKeys(all); v.report.Keys != nil {
		t.Error("a log without requests reports some")
	}
}
