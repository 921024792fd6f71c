package protocol

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// frames are all kinds, with what each may carry.
func frames() map[string]*Frame {
	return map[string]*Frame{
		"ack":       {Kind: KindAck, N: 7, To: -1},
		"ack-range": {Kind: KindAck, N: 7, From: 3, To: 9},
		"nack":      {Kind: KindNack, N: 300, From: 0, To: 1, Reason: "no such user"},
		"release":   {Kind: KindRelease, N: 1 << 40, From: 1, To: 70_000},
		"touch":     {Kind: KindTouch, N: 1, To: -1},
		"credit":    {Kind: KindCredit, Credit: 5000, To: -1},
		"accepted":  {Kind: KindAccepted, N: 7, From: 0, To: 2},
		"lost":      {Kind: KindLost, N: 7, From: 0, To: 2, Reason: "the lease ended"},
		"drain":     {Kind: KindDrain, To: -1},
		"fault":     {Kind: KindFault, Reason: "unknown kind of frame", To: -1},
		"lines":     {Kind: KindLines, N: 2, Attempt: 1, To: -1, Runs: []Run{{3, 4096, 4}, {4, 0, 2}}, Text: []byte("a\nb\nc\n")},
		"places": {Kind: KindPlaces, To: -1, Places: Places{Cluster: "LOGS", Partitions: 2,
			At: []Place{{Partition: 0, Address: "192.0.2.1:6791"}, {Partition: 1, Reason: "no collector has it"}}}},
		"lines-empty": {Kind: KindLines, N: 3, Attempt: 5, To: -1, Text: []byte{}},
	}
}

func hello() *Hello {
	return &Hello{Group: "mail", Name: "w-1", From: "2026-11-22T17:00:00Z", Credit: 500, Weight: 2, Batch: 100, Lease: 1500 * time.Millisecond, Key: "host+source",
		Host: []string{"web-*"}, Source: []string{"nginx", "app"}, Include: []string{"error"}, Exclude: []string{"^#", "debug"}}
}

func welcome() *Welcome {
	return &Welcome{Log: "000102030405060708090a0b0c0d0e0f", Group: "mail", Position: "3:4096", Format: "syslog", Credit: 65536, Lease: time.Minute, Attempts: 5}
}

// partitionHello and partitionWelcome are of a partition of a cluster.
func partitionHello() *Hello { return &Hello{Group: "mail", Cluster: true, Partition: "3"} }

func partitionWelcome() *Welcome {
	w := welcome()
	w.Partition, w.Epoch = "3", 1<<33
	return w
}

// TestGolden pins every frame's bytes, and reads them back.
func TestGolden(t *testing.T) {
	all := map[string][]byte{"hello": AppendHello(nil, hello()), "welcome": AppendWelcome(nil, welcome()),
		"hello-partition": AppendHello(nil, partitionHello()), "welcome-partition": AppendWelcome(nil, partitionWelcome())}
	for name, f := range frames() {
		all[name] = AppendFrame(nil, f)
	}
	for name, b := range all {
		path := "testdata/" + name + ".golden"
		if *update {
			if err := os.WriteFile(path, []byte(hex.Dump(b)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || string(want) != hex.Dump(b) {
			t.Errorf("%s: %v; it is\n%swant\n%s", name, err, hex.Dump(b), want)
		}
		r := NewReader(bytes.NewReader(b), 64)
		switch name {
		case "hello", "hello-partition":
			want := map[string]*Hello{"hello": hello(), "hello-partition": partitionHello()}[name]
			if h, err := r.Hello(); err != nil || !reflect.DeepEqual(&h, want) {
				t.Errorf("%s is read as %+v, %v", name, h, err)
			}
		case "welcome", "welcome-partition":
			want := map[string]*Welcome{"welcome": welcome(), "welcome-partition": partitionWelcome()}[name]
			if f, err := r.Frame(); err != nil || f.Kind != KindWelcome || !reflect.DeepEqual(&f.Welcome, want) {
				t.Errorf("%s is read as %+v, %v", name, f, err)
			}
		default:
			if f, err := r.Frame(); err != nil || !reflect.DeepEqual(&f, frames()[name]) {
				t.Errorf("%s is read as %+v, %v", name, f, err)
			}
		}
	}
}

// TestWrong: what is wrong is named, and no room is made for what is only claimed.
func TestWrong(t *testing.T) {
	for _, c := range []struct{ bytes, want string }{
		{"90", "is not a frame"},
		{"96", "is not a frame"},
		{"91a3666f6f", "unknown kind"},
		{"91a361636b", `"ack" with 0 elements`},
		{"92db7fffffff", "a string of 2147483647 bytes"},
		{"94a361636b010500", `lines 5 to 0`},
		{"94a361636b01d3800000000000000002", "out of range"},
		{"93a6706c616365730280", "a cluster of 0 partitions"},
		{"93a6706c616365730180", "the cluster has version 1"},
		{"93a6706c616365730281a26174dd7fffffff", "2147483647 places"},
		{"93a6706c616365730281a261749190", "a place of 0 elements"},
		{"95a56c696e65730101dd7fffffff", "a delivery of 2147483647 runs"},
		{"95a56c696e6573010191930000c6000000", "not a frame of the protocol"},
		{"95a56c696e6573010191930000cf7fffffffffffffff", "a run of 9223372036854775807"},
		{"95a56c696e65730101919300000ac405", "runs of 10 bytes with a text of 5"},
		{"92a66372656469740c", ""},
		{"92a6637265646974a0", "not a frame of the protocol"},
	} {
		b, err := hex.DecodeString(c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewReader(bytes.NewReader(b), 64).Frame()
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", c.bytes, err, c.want)
		}
	}
	for _, c := range []struct {
		hello string
		want  string
	}{
		{"GET / HTTP/1.1\r\n", "not a frame of the protocol"},
		{"\x93\xaafanin-work\x03\x80", "version 3"},
		{"\x93\xaafanin-work\x01\x81\xa9partition\xa13", `unknown option "partition"`},
		{"\x93\xaafanin-walk\x01\x80", "want ["},
		{"\x93\xaafanin-work\x01\x81\xa5grope\xa1x", `unknown option "grope"`},
		{"\x93\xaafanin-work\x01\xdf\x7f\xff\xff\xff", "options"},
		{"\x93\xaafanin-work\x01\x81\xa4host\xdd\x7f\xff\xff\xff", "a list of"},
		{"\x93\xaafanin-work\x01\x81\xa5lease\xff", "invalid number of seconds"},
	} {
		_, err := NewReader(strings.NewReader(c.hello), 64).Hello()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v; want %s", c.hello, err, c.want)
		}
	}
}

// FuzzFrame: no bytes do harm, and a frame that was read is written as it was.
func FuzzFrame(f *testing.F) {
	for _, x := range frames() {
		f.Add(AppendFrame(nil, x))
	}
	f.Add(AppendWelcome(nil, welcome()))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := NewReader(bytes.NewReader(b), 64).Frame()
		if err != nil || x.Kind == KindWelcome {
			return
		}
		y, err := NewReader(bytes.NewReader(AppendFrame(nil, &x)), 64).Frame()
		if err != nil || !reflect.DeepEqual(x, y) {
			t.Errorf("%+v was written and read as %+v, %v", x, y, err)
		}
	})
}

// FuzzHello: no bytes do harm, and a greeting that was read is written as it was.
func FuzzHello(f *testing.F) {
	f.Add(AppendHello(nil, hello()))
	f.Add(AppendHello(nil, &Hello{Group: "g"}))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := NewReader(bytes.NewReader(b), 64).Hello()
		if err != nil {
			return
		}
		again := AppendHello(nil, &x)
		y, err := NewReader(bytes.NewReader(again), 64).Hello()
		if err != nil || !bytes.Equal(again, AppendHello(nil, &y)) {
			t.Errorf("%+v was written and read as %+v, %v", x, y, err)
		}
	})
}
