package redis

import (
	"bytes"
	"testing"

	"fanin/internal/redisconn"
	"fanin/sink"
	"fanin/sink/line"
)

// FuzzState: whatever a server answers about a stream, it is an error, or a position and an
// owner that can be compared.
func FuzzState(f *testing.F) {
	f.Add([]byte("*4\r\n$17\r\nlast-generated-id\r\n$3\r\n1-5\r\n$10\r\nlast-entry\r\n*2\r\n$3\r\n1-5\r\n*4\r\n$3\r\nlog\r\n$1\r\na\r\n$7\r\nmessage\r\n$1\r\nm\r\n"))
	f.Add([]byte("%1\r\n+last-generated-id\r\n+18446744073709551615-18446744073709551615\r\n"))
	f.Add([]byte("*2\r\n$17\r\nlast-generated-id\r\n$2\r\n1-\r\n"))
	f.Add([]byte("*4\r\n+last-generated-id\r\n+1-5\r\n+last-entry\r\n*2\r\n+1-5\r\n+x\r\n"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		v, err := redisconn.NewReader(bytes.NewReader(reply), 0, 0, nil).Next()
		if err != nil {
			return
		}
		s := &stream{name: "fanin", parts: func(b []byte) line.Fields { return line.Parse("syslog", b) }}
		st, err := s.state(v)
		if err != nil {
			return
		}
		if st.at.Offset < 0 || st.owner == "" && st.same != nil {
			t.Errorf("the state is %+v", st)
		}
		if st.same != nil {
			st.same([]byte("2026-11-26T01:00:00.000000Z web nginx: line"))
		}
	})
}

// FuzzCursor: what is in the key beside a list is a cursor, nothing, or an error.
func FuzzCursor(f *testing.F) {
	for _, text := range []string{"", "a 1-5 0123456789abcdef", "a 1-5", "a b c", "a 0-0 c", "a 1--5 c", "  ", "a 99999999999999999999-1 c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		st, err := parseCursor(text)
		if err != nil || text == "" {
			return
		}
		if (st.at == sink.Position{}) || st.at.Offset < 0 || st.cursor != text || st.same == nil {
			t.Errorf("the cursor %q is %+v", text, st)
		}
		st.same([]byte("line"))
	})
}
