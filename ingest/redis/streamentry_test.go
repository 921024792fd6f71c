package redis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"unicode/utf8"

	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/redisconn"
)

// FuzzStreamReply: whatever a server answers, what becomes of it is whole lines none of which is too
// long, ids that are read as they are written, and JSON that is valid.
func FuzzStreamReply(f *testing.F) {
	entry := func(id string, fields ...string) string {
		s := fmt.Sprintf("*2\r\n$%d\r\n%s\r\n*%d\r\n", len(id), id, len(fields))
		for _, x := range fields {
			s += fmt.Sprintf("$%d\r\n%s\r\n", len(x), x)
		}
		return s
	}
	for _, s := range []string{entry("1-1", "message", "one"), entry("1700000000000-0", "a", "\"b\\\n\x00\xff", "c"), entry("0-0"),
		"*2\r\n$3\r\n1-1\r\n*-1\r\n", "*2\r\n$3\r\n1-x\r\n*2\r\n$7\r\nmessage\r\n$300\r\n" + string(make([]byte, 300)) + "\r\n",
		"*4\r\n$17\r\nlast-generated-id\r\n$3\r\n5-1\r\n$6\r\nlength\r\n:3\r\n", "-ERR\r\n", ":1\r\n", "*2\r\n:1\r\n:2\r\n"} {
		f.Add([]byte(s), "message")
		f.Add([]byte(s), "")
	}
	f.Fuzz(func(t *testing.T, reply []byte, message string) {
		v, err := redisconn.NewReader(bytes.NewReader(reply), 200, 0, nil).Next()
		if err != nil {
			return
		}
		n := &Input{Inputs: new(counters.Set), Streams: StreamOptions{Message: message}, Lines: LineOptions{MaxLine: lines.MinLimit}}
		n.Metrics = NewMetrics(new(ingest.Metrics))
		s := newStreamReader(n, "logs")
		if id, ok := parseID(v.At(0).Bytes()); ok {
			if again, _ := parseID([]byte(id.String())); again != id || id.before().compare(id) >= 0 && id != (streamID{}) {
				t.Errorf("%s is read as %s, behind %s", id, again, id.before())
			}
		}
		if info, err := parseInfo(v); err == nil && info.counts && info.added < info.length {
			t.Errorf("%+v", info)
		}
		object, _ := appendJSON(nil, v.At(1))
		if even := v.At(1).Len()%2 == 0; even && !json.Valid(object) || !utf8.Valid(object) {
			t.Errorf("%q is no JSON", object)
		}
		text := s.text(v.At(1)).text
		for line := range bytes.Lines(text) {
			if len(line) > lines.MinLimit || line[len(line)-1] != '\n' {
				t.Errorf("the line %q", line)
			}
		}
	})
}

func TestStreamID(t *testing.T) {
	for text, want := range map[string]streamID{"0-0": {}, "5-7": {5, 7}, "18446744073709551615-18446744073709551615": {math.MaxUint64, math.MaxUint64}} {
		if id, ok := parseID([]byte(text)); !ok || id != want || id.String() != text {
			t.Errorf("%s is %v, %v", text, id, ok)
		}
	}
	for _, text := range []string{"", "-", "5", "5-", "-5", "5-7-", "18446744073709551616-0", "a-1", "+5-1"} {
		if id, ok := parseID([]byte(text)); ok {
			t.Errorf("%q is %v", text, id)
		}
	}
	if got := (streamID{5, 0}).before(); got != (streamID{4, math.MaxUint64}) {
		t.Errorf("before 5-0 is %v", got)
	}
}
