package plain

import (
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"fanin/ingest/syslog"
	"fanin/internal/wire"
)

// TestMessages: what is shown of a text without a collector is what a connection makes of it.
func TestMessages(t *testing.T) {
	for _, text := range []string{"", "a\nb\n", "a", "<34>a\n\n\nb\n", "16 <34>hello\nworld!!17 <34>again, hello!x\n", "5 <34>1 hello\n", "999999999 <34>never\nends", "1234567890 <34>x\n",
		"-5 <34>x\n05 <34>x\n", "<34>a\x0016 <34>counted text\n\n<34>b\n", "2026-11-25 <34>no count\n7 <34>abc\n\n\n", "9 <999>abcd<34>x\n", "83 <34>", "8", "83 ",
		"line <b>\n<b>bold</b>\n7 apples\n 7 <34>\n", "a\n<34>b\x00c\n", "4 <34>\x00\n4 <1>\n\x00\nx", "<3", "1 <0>", "a\n2 <34>",
		"<13>" + strings.Repeat("x", wire.MaxLine/2) + "\n<13>Oct 11 22:14:15 web01 app[1]: text\n", "7 <34>x\ny"} {
		for _, every := range []bool{false, true} {
			s := &syslog.Settings{Source: "tcp", Any: every}
			var k taken
			scanner := s.New()
			err := (&Protocol{Syslog: s}).Messages(iotest.HalfReader(strings.NewReader("begin\n"+text)), func(msg []byte, isSyslog bool) error {
				if !isSyslog {
					k.add(wire.Labels{Host: "h", Source: "tcp"}, string(msg))
					return nil
				}
				out, labels := scanner.Scan(nil, msg, &syslog.Origin{Host: "h", Now: time.Now()})
				k.add(labels, string(wire.AppendRecordText(nil, out)))
				return nil
			}, func(string) {})
			if want := byTheBook("begin\n"+text, s, wire.MaxLine); err != nil || !slices.Equal(k.lines, want.lines) {
				t.Errorf("%.100q became, %v,\n%.1000q\nwant\n%.1000q", text, err, k.lines, want.lines)
			}
		}
	}
}
