package tail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/tail/decode"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// world is what happens to files in one run of the random test: lines
// "FILE.NUMBER" are written, and each must be kept once, in the order of its file.
type world struct {
	*rig
	rnd     *rand.Rand
	file    int // the file that bears the name now
	number  int
	rotated int
	half    string // written without its newline
	encode  func(string) string
	want    []string
	story   []string
}

func (w *world) line() string {
	w.number++
	s := fmt.Sprintf("%d.%d", w.file, w.number)
	w.want = append(w.want, s)
	return s
}

// append appends text in the encoding of the world.
func (w *world) append(name, text string) { w.rig.append(name, w.encode(text)) }

func (w *world) did(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf(format, args...))
}

func (w *world) write() {
	var b strings.Builder
	n := 1 + w.rnd.Intn(30)
	for range n {
		b.WriteString(w.half)
		if w.half = ""; b.Len() == 0 || b.String()[b.Len()-1] == '\n' {
			b.WriteString(w.line())
		}
		b.WriteByte('\n')
	}
	if w.rnd.Intn(3) == 0 {
		s := w.line()
		cut := w.rnd.Intn(len(s))
		b.WriteString(s[:cut])
		w.half = s[cut:]
	}
	w.append("app.log", b.String())
	w.did("write %d", n)
}

// finish ends a line that was begun.
func (w *world) finish() {
	if w.half != "" {
		w.append("app.log", w.half+"\n")
		w.half = ""
	}
}

// next begins another file under the name.
func (w *world) next() {
	w.file++
	w.number = 0
}

func (w *world) rename() {
	w.finish()
	w.rotated++
	w.rig.rename("app.log", fmt.Sprintf("app.log.%d", w.rotated))
	w.next()
	w.append("app.log", w.line()+"\n")
	w.did("rename")
}

// copyTruncate is logrotate's, in a moment without a write.
func (w *world) copyTruncate() {
	w.finish()
	w.rotated++
	b, _ := os.ReadFile(w.path("app.log"))
	os.WriteFile(w.path(fmt.Sprintf("app.log.%d", w.rotated)), b, 0o640)
	os.Truncate(w.path("app.log"), 0)
	w.next()
	w.append("app.log", w.line()+"\n")
	w.did("copytruncate")
}

// truncate destroys, so all must be kept before.
func (w *world) truncate() {
	w.finish()
	w.settled()
	os.Truncate(w.path("app.log"), 0)
	w.next()
	w.append("app.log", w.line()+"\n")
	w.did("truncate")
}

func (w *world) restart() {
	w.halt()
	if w.rnd.Intn(2) == 0 {
		w.settledFiles()
		w.state = w.TempDir()
		w.did("restart without state")
	} else {
		w.did("restart")
	}
	if w.rnd.Intn(2) == 0 {
		w.write()
	}
	w.run()
}

// settledFiles is for what cannot be distinguished without any state: a truncated
// file that was not looked at since.
func (w *world) settledFiles() {
	w.run()
	w.finish()
	w.settled()
	entries, _ := os.ReadDir(w.dir)
	w.drained(len(entries))
	w.halt()
}

// settled waits until every line so far is kept.
func (w *world) settled() {
	w.Helper()
	want := slices.Sorted(slices.Values(w.want))
	if w.half != "" {
		last := w.want[len(w.want)-1]
		want = slices.DeleteFunc(want, func(s string) bool { return s == last })
	}
	var got []string
	for end := time.Now().Add(waittest.Limit); ; time.Sleep(2 * time.Millisecond) {
		got = slices.Sorted(slices.Values(strings.Fields(w.collector.lines())))
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("%v:\n%s\n%+v\nkept %v", w.story, difference(got, want), w.tailer.Status(), strings.Fields(w.collector.lines()))
		}
	}
}

// difference says what sorted got has too many and too few of.
func difference(got, want []string) string {
	count := make(map[string]int)
	for _, s := range got {
		count[s]++
	}
	for _, s := range want {
		count[s]--
	}
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(count)) {
		if count[s] != 0 {
			fmt.Fprintf(&b, "%s:%+d ", s, count[s])
		}
	}
	return b.String()
}

// inOrder holds each file's lines to their order.
func (w *world) inOrder() {
	last := make(map[string]int)
	for _, s := range strings.Fields(w.collector.lines()) {
		var file, number int
		fmt.Sscanf(s, "%d.%d", &file, &number)
		key := fmt.Sprint(file)
		if number <= last[key] {
			w.Fatalf("%v: %s was sent after %s.%d", w.story, s, key, last[key])
		}
		last[key] = number
	}
}

// record keeps what is logged.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// worldText is how the files of some worlds are decoded: their records have up to three
// lines, the first of which has an even number, and are in UTF-16 or not.
func worldText(seed int) decode.Options {
	o := decode.Options{Multiline: &decode.Multiline{First: regexp.MustCompile(`[02468]$`), MaxLines: 3,
		MaxBytes: 1 << 20, Timeout: time.Duration(seed) * time.Millisecond}}
	if seed%4 == 3 {
		o.Encoding = "utf-16be"
	}
	return o
}

func TestRandomWorlds(t *testing.T) {
	worlds := 60
	if testing.Short() {
		worlds = 4
	}
	for seed := range worlds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			said := &record{}
			r.change = func(x *Tailer) {
				x.Log = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))
				if seed%2 == 1 {
					x.Files = 1 + seed%3 // open at a time
				}
				if seed%4 > 1 {
					x.Tables[0].Text = worldText(seed)
				}
			}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the tailer logged:\n%s", said.text.String())
				}
			})
			w := &world{rig: r, rnd: rand.New(rand.NewSource(int64(seed))), encode: func(s string) string { return s }}
			if seed%4 == 3 {
				w.encode = func(s string) string { return utf16Text(binary.BigEndian, s) }
			}
			answers := rand.New(rand.NewSource(int64(seed)))
			r.collector.failing = func(b wire.Batch) error {
				if answers.Intn(6) == 0 {
					return errors.New("the answer was lost")
				}
				return nil
			}
			r.collector.fail = func(b wire.Batch) error {
				if bytes.Contains(b.Text, []byte("never")) || answers.Intn(8) == 0 {
					return errors.New("not now")
				}
				return nil
			}
			w.next()
			w.write()
			r.run()
			for range 25 {
				switch w.rnd.Intn(8) {
				case 0:
					w.rename()
				case 1:
					w.settled()
					w.copyTruncate()
				case 2:
					w.truncate()
				case 3:
					w.restart()
				default:
					w.write()
				}
				time.Sleep(time.Duration(w.rnd.Intn(20)) * time.Millisecond)
			}
			w.finish()
			w.settled()
			w.inOrder()
		})
	}
}
