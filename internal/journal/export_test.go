package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// readAll reads all entries, as text, and the error that ends them.
func readAll(r io.Reader) (all []string, err error) {
	p := newParser(r, names())
	for {
		var e entry
		if err := p.next(&e); err != nil {
			return all, err
		}
		text := fmt.Sprintf("%s %d %d %v", e.id, e.number, e.time, e.short)
		for _, f := range e.fields {
			text += fmt.Sprintf(" %d=%q", f.name, e.text[f.from:f.to])
		}
		all = append(all, text)
	}
}

const (
	cursorOf = "__CURSOR=s=0123456789abcdef0123456789abcdef;i=%x;b=1;m=2;t=3;x=4\n__REALTIME_TIMESTAMP=%d\n"
	idOf     = "0123456789abcdef0123456789abcdef"
)

// TestExport: fields in both forms, in any order, wanted or not.
func TestExport(t *testing.T) {
	long, huge := strings.Repeat("x", 100<<10), strings.Repeat("y", maxMessage+1)
	for _, c := range []struct{ text, want string }{
		{"MESSAGE=a=b\n_PID=1\nX=2\n", ` false 0="a=b" 9="1"`},
		{"MESSAGE\n\x05\x00\x00\x00\x00\x00\x00\x00a\nb\x00\n\n", ` false 0="a\nb\x00\n"`},
		{"UNWANTED\n\x02\x00\x00\x00\x00\x00\x00\x00\n\n\nMESSAGE=\n", ` false 0=""`},
		{"MESSAGE=one\nMESSAGE=two\n_SYSTEMD_UNIT=a\n_SYSTEMD_UNIT=b\n", ` false 0="one" 3="a" 3="b"`},
		{"X=" + long + "\nMESSAGE=" + long + "\n", ` false 0="` + long + `"`},
		{"MESSAGE=" + huge + "\n_PID=1\n", ` true 0="` + huge[1:] + `" 9="1"`},
		{"MESSAGE\n" + string(lengthOf(huge)) + huge + "\n_PID=1\n", ` true 0="` + huge[1:] + `" 9="1"`},
		{"MESSAGE=" + huge[1:] + "\n", ` false 0="` + huge[1:] + `"`},
		{"_PID=" + long + "\n", ` true 9="` + long[:maxOther] + `"`},
		{"", " false"},
	} {
		text := fmt.Sprintf(cursorOf, 7, 9) + c.text + "\n"
		for _, r := range []io.Reader{strings.NewReader(text), iotest.DataErrReader(strings.NewReader(text))} {
			got, err := readAll(r)
			if want := []string{idOf + " 7 9" + c.want}; err != io.EOF || !reflect.DeepEqual(got, want) {
				t.Errorf("%.60q: %v, %.200q; want %.200q", c.text, err, got, want)
			}
		}
	}
}

// TestExportGarbage: what is no entry is an error, and so is an end inside one.
func TestExportGarbage(t *testing.T) {
	good := fmt.Sprintf(cursorOf, 7, 9)
	for text, want := range map[string]error{
		"":                         io.EOF,
		"\n\n":                     io.EOF,
		good:                       io.ErrUnexpectedEOF,
		good + "MESSAGE=a":         io.ErrUnexpectedEOF,
		good + "MESSAGE\n\x05\x00": io.ErrUnexpectedEOF,
		good + "MESSAGE\n" + string(lengthOf("12345")) + "123":  io.ErrUnexpectedEOF,
		good + "MESSAGE\n" + string(lengthOf("123")) + "123":    io.ErrUnexpectedEOF,
		good + "MESSAGE\n" + string(lengthOf("123")) + "1234\n": errGarbage,
		good + "MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff":      errGarbage,
		good + "X\n\xff\xff\xff\xff\x00\x00\x00\x00":            errGarbage,
		"MESSAGE=a\n\n":                                  errGarbage,
		"__CURSOR=s=0;i=1\n\n":                           errGarbage,
		"__CURSOR=s=" + idOf + ";i=0\n\n":                errGarbage,
		"__CURSOR=s=" + idOf + ";i=ffffffffffffffff\n\n": errGarbage,
		"__CURSOR=s=" + idOf + ";i=1;b=2\n\n":            errGarbage,
		"__REALTIME_TIMESTAMP=-1\n\n":                    errGarbage,
		"-- No entries --\n":                             errGarbage,
		"message=a\n\n":                                  errGarbage,
		"=a\n\n":                                         errGarbage,
		strings.Repeat("A", 70) + "=1\n\n":               errGarbage,
		strings.Repeat("A", 200<<10):                     errGarbage,
		strings.Repeat("\x00", 200<<10):                  errGarbage,
		"__CURSOR=" + strings.Repeat("A", 99<<10):        errGarbage,
	} {
		if got, err := readAll(strings.NewReader(text)); !errors.Is(err, want) || len(got) > 0 {
			t.Errorf("%.60q: %v, %.60q; want %v", text, err, got, want)
		}
	}
}

// FuzzExport: no bytes make the parser panic or hold more than they have, and how they arrive
// changes nothing.
func FuzzExport(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(cursorOf, 7, 9) + "MESSAGE=a\n_PID=1\n\n"))
	f.Add([]byte(fmt.Sprintf(cursorOf, 7, 9) + "MESSAGE\n\x05\x00\x00\x00\x00\x00\x00\x00a\nb\x00\n\n\n"))
	f.Add([]byte(fmt.Sprintf(cursorOf, 1<<45, 9) + "X\n\xff\xff\xff\x3f\x00\x00\x00\x00"))
	f.Add([]byte("__CURSOR=s=\n\n-- Boot --\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := readAll(bytes.NewReader(b))
		again, err2 := readAll(iotest.OneByteReader(bytes.NewReader(b)))
		if !reflect.DeepEqual(all, again) || err.Error() != err2.Error() {
			t.Errorf("%q, %v; byte by byte %q, %v", all, err, again, err2)
		}
		p := newParser(bytes.NewReader(b), names())
		for e := new(entry); p.next(e) == nil; {
			if e.number == 0 || e.number >= maxNumber || e.time <= 0 || len(e.text) > len(b) {
				t.Errorf("entry %+v of %d bytes", e.place, len(b))
			}
			e.suppressed()
			e.shown()
			e.unit()
		}
	})
}

// The parser allocates nothing for an entry.
func TestExportAllocates(t *testing.T) {
	text := strings.Repeat(fmt.Sprintf(cursorOf, 7, 9)+"MESSAGE=a line\n_PID=1\n_SYSTEMD_UNIT=a.service\nX=1\n\n", 300)
	r := strings.NewReader(text)
	p := newParser(r, names())
	var e entry
	n := testing.AllocsPerRun(200, func() {
		if err := p.next(&e); err != nil {
			t.Fatal(err)
		}
	})
	if n > 1 { // the number of an entry is a string for a moment
		t.Errorf("%.1f allocations for an entry", n)
	}
}

func BenchmarkExport(b *testing.B) {
	one := fmt.Sprintf(cursorOf, 7, 9) + "__MONOTONIC_TIMESTAMP=123456\n_BOOT_ID=" + idOf + "\nMESSAGE=" +
		"a line of a usual length, with some words in it, and a few more behind them\n_PID=123\n" +
		"_SYSTEMD_UNIT=nginx.service\nSYSLOG_IDENTIFIER=nginx\n_COMM=nginx\n_TRANSPORT=stdout\n_MACHINE_ID=" + idOf + "\n\n"
	text := strings.Repeat(one, 1000)
	b.SetBytes(int64(len(one)))
	r := strings.NewReader(text)
	p := newParser(r, names())
	var e entry
	for b.Loop() {
		if err := p.next(&e); err == io.EOF {
			r.Reset(text)
		}
	}
}
