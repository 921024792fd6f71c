package syslog

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// TestStem: a message is the same behind any other as alone. Most of these begin alike.
func TestStem(t *testing.T) {
	all, _ := examples(t)
	var messages [][]byte
	for _, x := range all {
		messages = append(messages, trimEnd(x.message))
	}
	for _, head := range []string{"Nov  6 12:00:01 web1 ", "Nov  6 12:00:01 UTC web1 ", "Nov  6 12:00:01  web1\t", "Nov  6 12:00:01 last ",
		"Nov  6 12:00:01 Message ", "Nov  6 12:00:01 From ", "Nov  6 12:00:01.25 web1 ", "Nov  6 12:00:01 CET: ", "2026-11-06T12:00:01Z web1 "} {
		for _, rest := range []string{"app[7]: text", "app: text", "text", " app: text", ": %ASA-6-302013: text", ":", ": text", "", "message repeated 3 times: [x]",
			"forwarded from web2: text", "web2: text"} {
			messages = append(messages, []byte("<13>"+head+rest))
		}
	}
	const second = "2026-11-06T12:00:01"
	for _, time := range []string{second + "Z", second + ".25Z", second + "+01:00", second + ".123456-0230", second, second + "x", "2026-11-06t12:00:01z", "2026-13-06T12:00:01Z",
		strings.Repeat("\x00", secondSize) + "Z", "-"} {
		messages = append(messages, []byte("<13>1 "+time+" web1 app 7 - - text"), []byte("<13>1 "+time), []byte("<13>"+time+" web1 app[7]: text"))
	}
	used := 0
	for _, first := range messages {
		for _, second := range messages {
			var s stem
			var m, alone, before message
			before.parse(first, false, false, &s)
			if s.begins(bytes.TrimPrefix(second, []byte("<13>"))) {
				used++
			}
			m.parse(second, false, false, &s)
			alone.parse(second, false, false, new(stem))
			if !reflect.DeepEqual(m, alone) {
				t.Fatalf("%q behind %q is %+v; alone it is %+v", second, first, m, alone)
			}
		}
	}
	if used < len(messages) {
		t.Errorf("only %d of %d messages had a stem in common", used, len(messages)*len(messages))
	}
}
