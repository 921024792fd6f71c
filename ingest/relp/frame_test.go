package relp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// Frames as they may come; want is number, command, data and size, or why it is none.
func TestParse(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{"1 open 5 a=b\nc\n", "1 open \"a=b\\nc\" 15"},
		{"2 syslog 3 <1>\n3 syslog", "2 syslog \"<1>\" 15"},
		{"7 close 0\n", "7 close \"\" 10"},
		{"7 close 0 \n", "7 close \"\" 11"},
		{"999999999 syslog 1 x\n", "999999999 syslog \"x\" 21"},
		{"000000001 syslog 1 x\n", "1 syslog \"x\" 21"},
		{"0 serverclose 0\n", "0 serverclose \"\" 16"},
		{"1 syslog 2 \n\n\n", "1 syslog \"\\n\\n\" 14"},
		{"", "more"}, {"1", "more"}, {"1 ", "more"}, {"1 syslog", "more"}, {"1 syslog ", "more"}, {"1 syslog 12", "more"},
		{"1 syslog 0", "more"}, {"1 syslog 5 abc", "more 17"}, {"1 syslog 5 abcde", "more 17"},
		{"1 syslog 999999999 x", "more 1000000019"},
		{"<13>Oct 11 22:14:15 web app: x\n", errNoRELP.Error()},
		{"GET / HTTP/1.1\r\n", errNoRELP.Error()},
		{"1234567890 syslog 1 x\n", errNoRELP.Error()},
		{"-1 syslog 1 x\n", errNoRELP.Error()},
		{"1\tsyslog 1 x\n", errNoRELP.Error()},
		{"\n1 syslog 1 x\n", errNoRELP.Error()},
		{"1  1 x\n", errCommand.Error()},
		{"1 sys-log 1 x\n", errCommand.Error()},
		{"1 " + strings.Repeat("a", 33) + " 1 x\n", errCommand.Error()},
		{"1 syslog -1 x\n", errLength.Error()},
		{"1 syslog x\n", errLength.Error()},
		{"1 syslog 4294967296 x\n", errLength.Error()},
		{"1 syslog 3\nabc\n", errLength.Error()},
		{"1 syslog 3 abcd\n", "there is no newline where the 3 bytes of frame 1 end: its length is wrong"},
		{"1 syslog 5 abc\n2 syslog 1 x\n", "there is no newline where the 5 bytes of frame 1 end: its length is wrong"},
		{"1 close 0 x\n", "there is no newline where the 0 bytes of frame 1 end: its length is wrong"},
	} {
		f, size, err := parse([]byte(x.in))
		got := fmt.Sprintf("%d %s %q %d", f.number, f.command, f.data, size)
		switch {
		case err != nil:
			got = err.Error()
		case size == 0:
			got = "more"
		case size > len(x.in):
			got = fmt.Sprint("more ", size)
		}
		if got != x.want {
			t.Errorf("%q is %q, want %q", x.in, got, x.want)
		}
	}
}

// FuzzParse: a frame is what is between its borders, and never depends on what follows; as long as it
// is incomplete there is no frame, and no error that more bytes would undo.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"1 open 5 a=b\nc\n", "2 syslog 3 <1>\n", "7 close 0\n", "7 close 0 \n", "0 serverclose 0\n",
		"999999999 syslog 1 x\n", "1 syslog 999999999 x", "1 syslog 3 abcd\n", "GET / HTTP/1.1\r\n", "<13>x\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, size, err := parse(b)
		whole := err == nil && size > 0 && size <= len(b)
		if whole {
			if again, n, err := parse(append(bytes.Clone(b[:size]), "12 x"...)); err != nil || n != size ||
				again.number != x.number || !bytes.Equal(again.data, x.data) || !bytes.Equal(again.command, x.command) {
				t.Fatalf("%q: %v %v %v", b, again, n, err)
			}
			if b[size-1] != '\n' || len(x.command) == 0 || len(x.data)+5 > size || x.number > maxNumber {
				t.Fatalf("%q: %v %d", b, x, size)
			}
		}
		for n := range min(len(b), headerSize+16) {
			_, short, e := parse(b[:n])
			switch {
			case e != nil && err == nil:
				t.Fatalf("%q is wrong and %q is not", b[:n], b)
			case e == nil && short > 0 && short <= n && !(whole && short == size):
				t.Fatalf("%q has a frame of %d bytes, %q of %d", b[:n], short, b, size)
			}
		}
	})
}

// FuzzBlock: what is read is written again as it was.
func FuzzBlock(f *testing.F) {
	s := goldenSession()
	for _, x := range s.record(nil, 1<<16, goldenTime) {
		f.Add(x.Name, x.Value)
	}
	for _, x := range goldenSession().record([]uint64{7, 8}, 1<<16, goldenTime) {
		f.Add(x.Name, x.Value)
	}
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		b, err := parseBlock(name, value)
		if err != nil {
			return
		}
		s := &session{id: b.session, peer: b.peer, begin: b.number * blockFrames}
		if b.number > 1<<50 {
			return
		}
		all := s.record(b.hashes, 1<<16, b.at)
		if len(all) != 1 || all[0].Name != name || !bytes.Equal(all[0].Value, value) {
			t.Fatalf("%q %q became %+v", name, value, all)
		}
	})
}

// An extension is large enough for a block, and a batch for those of its messages.
func TestBlocksFit(t *testing.T) {
	s := newSession(strings.Repeat("p", maxPeer))
	s.hashes = make([]uint64, blockFrames/2)
	x := wire.Batch{Input: "relp", Host: "h", Source: "s", Text: []byte("x\n")}
	x.Extensions = s.record(make([]uint64, wire.MaxCutLines/2), 1, goldenTime)
	for i := range maxDeletes {
		x.Extensions = append(x.Extensions, wire.Extension{Kind: wire.ExtensionRELP, Name: s.blockName(uint64(i))})
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
}
