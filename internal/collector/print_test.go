package collector

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"fanin/internal/counters"
	"fanin/internal/daemon"
	"fanin/sink"
	"fanin/sink/distribute"
)

// hostile are names and reasons that would do something to a terminal.
var hostile = []string{
	"\x1b[2J\x1b]0;title\x07", "a\nforged line", "\x9b31m", "\u009b31m\u0085", "a\u2028b\u2029c", "\u202egnp.exe\u2069", "\r\x7f\x00\b\ttab", "\xc0\x9b\xff",
}

// fill sets every text that can be reached from v, and one element of every list.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), text)
			}
		}
	case reflect.Uint64, reflect.Int:
		if v.CanUint() {
			v.SetUint(1)
		} else {
			v.SetInt(1)
		}
	}
}

func filled[T any](text string) *T {
	v := new(T)
	fill(reflect.ValueOf(v).Elem(), text)
	return v
}

// wantHarmless wants what is printed to be text, with as many lines as a harmless
// name gives.
func wantHarmless(t *testing.T, what, got, harmless string) {
	t.Helper()
	for i, r := range got {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) && r != 0x200e && r != 0x200f && r != 0x61c || r == 0x2028 || r == 0x2029) ||
			r == unicode.ReplacementChar && got[i] >= 0x80 && got[i] < 0xa0 {
			t.Errorf("%s prints %q", what, got)
			return
		}
	}
	if strings.Count(got, "\n") != strings.Count(harmless, "\n") {
		t.Errorf("%s: a name makes lines: %q", what, got)
	}
}

// Whatever names others chose, no command prints them as they are. Every text of
// all that the collector may answer is hostile here.
func TestPrintsNothingHostile(t *testing.T) {
	commands := map[string]func(text string) any{
		"status":  func(text string) any { return filled[status](text) },
		"streams": func(text string) any { return []sink.StreamStatus{*filled[sink.StreamStatus](text)} },
		"groups":  func(text string) any { return []distribute.GroupStatus{*filled[distribute.GroupStatus](text)} },
		"workers": func(text string) any { return []distribute.WorkerStatus{*filled[distribute.WorkerStatus](text)} },
		"rotate":  func(text string) any { return filled[sink.Rotation](text) },
		"reload":  func(text string) any { return filled[reloaded](text) },
		"replay":  func(text string) any { return filled[replayed](text) },
		"reopen":  func(text string) any { return errors.New(text) },
		"forget":  func(text string) any { return errors.New(text) },
	}
	args := map[string][]string{"replay": {"--group", "g", "--from", "start"}, "forget": {"--group", "g"}}
	for command, answer := range commands {
		for _, json := range []bool{false, true} {
			harmless := printed(t, command, answer("harmless"), args[command], json)
			for _, text := range hostile {
				got := printed(t, command, answer(text), args[command], json)
				if _, fails := answer(text).(error); fails {
					got = strings.ReplaceAll(got, "\t", "")
					harmless = got // an error may have lines and TABs
				}
				wantHarmless(t, command, got, harmless)
			}
		}
	}
	var harmless bytes.Buffer
	printReport(&harmless, filled[sink.Report]("harmless"))
	for _, text := range hostile {
		var got bytes.Buffer
		printReport(&got, filled[sink.Report](text))
		wantHarmless(t, "verify", got.String(), harmless.String())
	}
}

// printed is what a command prints when the collector answers so.
func printed(t *testing.T, command string, answer any, args []string, asJSON bool) string {
	t.Helper()
	dir := t.TempDir()
	stop := answerWith(t, dir, func(w http.ResponseWriter, _ *http.Request) {
		if err, is := answer.(error); is {
			http.Error(w, err.Error(), http.StatusTeapot)
			return
		}
		json.NewEncoder(w).Encode(answer)
	})
	defer stop()
	c := Command()
	args = append([]string{command, "--out", dir + "/all.log", "--state", dir}, args...)
	if sub, _, err := c.Find([]string{command}); asJSON && err == nil && sub.Flags().Lookup("json") != nil {
		args = append(args, "--json")
	}
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs(args)
	if err := c.Execute(); err != nil {
		daemon.PrintError(&out, err)
	}
	return out.String()
}

// answerWith serves a control socket.
func answerWith(t *testing.T, dir string, h http.HandlerFunc) (stop func()) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	ln, err := net.Listen("unix", filepath.Join(dir, controlName))
	if err != nil {
		t.Fatal(err)
	}
	s.Listener.Close()
	s.Listener = ln
	s.Start()
	return s.Close
}

// What watchers see on a terminal is text, in colours or not, JSON or not.
func TestTailPrintsNothingHostile(t *testing.T) {
	for _, text := range hostile {
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			p, err := newPainter(&out, "never", "")
			if err != nil {
				t.Fatal(err)
			}
			p.safe, p.json = true, asJSON
			line := []byte(strings.ReplaceAll(text, "\n", " "))
			if asJSON {
				line, _ = json.Marshal(text)
			}
			p.line(line)
			p.flush()
			wantHarmless(t, "tail", strings.ReplaceAll(out.String(), "\t", ""), "\n")
			var back string
			if asJSON && json.Unmarshal(out.Bytes(), &back) != nil {
				t.Errorf("%q is no JSON any more", out.String())
			}
		}
	}
	var said bytes.Buffer
	w := &tailer{stderr: &said, out: &painter{}}
	for _, text := range hostile {
		data, _ := json.Marshal(map[string]any{"from": text, "to": text})
		var out bytes.Buffer
		w.out, _ = newPainter(&out, "never", "")
		if _, err := w.event("skipped", data); err != nil {
			t.Fatal(err)
		}
	}
	wantHarmless(t, "tail", said.String(), strings.Repeat("\n", len(hostile)))
}

// TestStatusShowsClasses: the class of an input shows before lines come.
func TestStatusShowsClasses(t *testing.T) {
	st := status{Inputs: []inputStatus{
		{Input: "relp", Class: counters.Run.String()},
		{Input: "udp", Class: counters.None.String(), Counts: counters.Counts{Received: 2, Written: 2}},
	}}
	var out bytes.Buffer
	st.print(&out)
	for _, want := range []string{"input relp, class C run: nothing received\n", "input udp, class D none: received=2 written=2 "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}
