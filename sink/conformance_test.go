package sink

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// TestAppender: the sink keeps the promise of wire.Appender, in both modes.
func TestAppender(t *testing.T) {
	for _, mode := range []string{syncCommit, syncNone} {
		t.Run(mode, func(t *testing.T) {
			appendertest.Run(t, func(t *testing.T) wire.Appender {
				return &readBack{open(t, &Sink{Sync: mode, Format: "json"}), t}
			})
		})
	}
}

// readBack is a sink that is asked what stands in its file.
type readBack struct {
	*Sink
	t *testing.T
}

func (r *readBack) Text(stream wire.StreamID) (text []byte) {
	for _, l := range r.Shown(stream) {
		text = append(text, l.Text...)
	}
	return text
}

// Shown is the lines of a stream: they begin with its id. All others are anonymous.
func (r *readBack) Shown(stream wire.StreamID) (list []appendertest.Line) {
	if err := r.do(r.t.Context(), func(*writer) error { return nil }); err != nil { // the writer has appended all
		r.t.Fatal(err)
	}
	text, err := os.ReadFile(r.Path)
	if err != nil {
		r.t.Fatal(err)
	}
	for laid := range bytes.Lines(text) {
		f := r.Parts(laid)
		id, _, _ := strings.Cut(string(f.Body), " ")
		if own, err := wire.ParseStreamID(id); own != stream || (err != nil) != stream.IsZero() {
			continue
		}
		l := appendertest.Line{Source: string(f.Source), Text: string(f.Body) + "\n"}
		if l.Source == "source" || l.Source == "renamed" {
			l.Source = ""
		}
		if !bytes.Equal(f.Time, f.Read) {
			if l.Time, err = time.Parse(time.RFC3339Nano, string(f.Time)); err != nil {
				r.t.Fatal(err)
			}
		}
		list = append(list, l)
	}
	return list
}

func TestKeysAppender(t *testing.T) {
	for _, mode := range []string{syncCommit, syncNone} {
		appendertest.RunKeys(t, func(t *testing.T) wire.Appender { return open(t, &Sink{Sync: mode}) })
	}
}

func TestOwners(t *testing.T) {
	appendertest.RunOwners(t, func(t *testing.T) wire.Appender { return open(t, &Sink{Sync: syncNone}) })
}

func TestLossyAppender(t *testing.T) {
	appendertest.RunLossy(t, func(t *testing.T) wire.Appender { return open(t, &Sink{}) })
}
