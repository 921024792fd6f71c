package relay

import (
	"strings"
	"testing"
)

// What is known of the line before changes nothing of what a line is taken for.
func TestLabelsOfNeighbours(t *testing.T) {
	lines := []string{
		"2026-11-22T17:00:00.123456Z web app: one",
		"2026-11-22T17:00:00.123456Z web app: two",
		"2026-11-22T17:00:00.999999Z web app: another time",
		"2026-11-22T17:00:01.000000Z web app: another second",
		"2026-11-22T17:00:01.00000xZ web app: no time",
		"2026-11-22T17:00:61.000000Z web app: no time either",
		"2026-11-22T17:00:01.000000+ web app: nor this",
		"2026-11-22T17:00:01+01:00.Z web app: nor this",
		"2026-11-22T17:00:01.000001Z web app: a time again",
		"2026-11-22T17:00:01.000001Z web app",
		"2026-11-22T17:00:01.000001Z web application: another source",
		"2026-11-22T17:00:01.000002Z db app: another host",
		"a line of another process",
		"2026-11-22T17:00:01.000002Z db app: ",
		"9999-12-31T23:59:59.999999Z db app: late",
		"0000-01-01T00:00:00.000000Z db app: early",
		"",
	}
	for _, before := range lines {
		for _, between := range lines {
			for _, text := range lines {
				known := labeler{format: "syslog", host: "here"}
				known.body([]byte(before))
				known.body([]byte(between))
				fresh := labeler{format: "syslog", host: "here"}
				got, changed := known.body([]byte(text))
				want, _ := fresh.body([]byte(text))
				if string(got) != string(want) || known.labels != fresh.labels {
					t.Fatalf("behind %q and %q, %q is %q of %+v, want %q of %+v", before, between, text, got, known.labels, want, fresh.labels)
				}
				if !changed && strings.Split(between, ": ")[0] != strings.Split(text, ": ")[0] {
					t.Fatalf("behind %q, the labels of %q have not changed", between, text)
				}
			}
		}
	}
}
