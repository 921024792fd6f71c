package collector

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"fanin/internal/daemon"
	"fanin/sink/livetail"
)

// TestTailCommandUnreadable: what cannot be read is not asked for again and again.
func TestTailCommandUnreadable(t *testing.T) {
	var out, errs bytes.Buffer
	p, err := newPainter(&out, "never", "")
	if err != nil {
		t.Fatal(err)
	}
	x := &tailer{out: p, stderr: &errs}
	p.format = "raw"
	ended, err := x.events(livetail.NewEventReader(strings.NewReader(
		"id: 1:7\ndata: a line\n\nevent: failed\ndata: all.log.gz is damaged\n\nid: 1:14\ndata: another\n\n")))
	var exit *daemon.Exit
	if ended || !errors.As(err, &exit) || exit.Code != daemon.ExitFailure || !strings.Contains(err.Error(), "behind 1:7: all.log.gz is damaged") {
		t.Errorf("ended %v, %v", ended, err)
	}
	if out.String() != "a line\n" {
		t.Errorf("it prints %q", out.String())
	}
}
