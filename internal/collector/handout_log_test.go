package collector

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/cluster"
	"fanin/internal/natstest"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/distribute/protocol"
)

// newTestGroupLog is an empty log, with the group g at its beginning.
func newTestGroupLog(t *testing.T) *groupLog {
	t.Helper()
	k := &sink.Sink{Path: filepath.Join(t.TempDir(), "all.log"), Sync: "none", Log: slog.New(slog.DiscardHandler)}
	d := distribute.New(k, distribute.Settings{Windows: true, Partition: "0"})
	if err := k.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Shutdown(context.Background()); k.Close(context.Background()) })
	if err := d.Move(t.Context(), "g", sink.Position{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	return &groupLog{d: d, log: "here", ids: map[string]string{"g": "id"}, windows: make(map[string]distribute.Window)}
}

// A tenure without lines is not unfinished: its record would be written back for ever, since no group is in it.
func TestEmptyTenureIsFinished(t *testing.T) {
	l := newTestGroupLog(t)
	empty := cluster.Tenure{Epoch: 9, Log: "here", From: "1:150", To: "1:150", End: cluster.Moved}
	if x := l.unfinished("g", []cluster.Tenure{empty}); x != nil {
		t.Errorf("epoch %d has no lines, and is not finished", x.Epoch)
	}
	full := cluster.Tenure{Epoch: 7, Log: "here", From: "1:0", To: "1:100", End: cluster.Taken}
	if x := l.unfinished("g", []cluster.Tenure{full, empty}); x == nil || x.Epoch != 7 {
		t.Errorf("epoch 7 has lines, and %+v is not finished", x)
	}
}

// A group gets nothing more of a log when its record says that it is elsewhere, whichever member wrote it.
func TestWindowIsRetracted(t *testing.T) {
	seven := &cluster.Tenure{Epoch: 7, Log: "here"}
	for name, x := range map[string]struct {
		id    string
		now   *cluster.Tenure
		stays bool
	}{
		"the same":              {"id", seven, true},
		"made anew":             {"other", seven, false},
		"another log's tenure":  {"id", &cluster.Tenure{Epoch: 7, Log: "there"}, false},
		"a tenure before it":    {"id", &cluster.Tenure{Epoch: 5, Log: "here"}, false},
		"no tenure is known":    {"id", nil, false},
		"a tenure behind it":    {"id", &cluster.Tenure{Epoch: 9, Log: "here"}, false},
		"an earlier one, there": {"id", &cluster.Tenure{Epoch: 5, Log: "there"}, false},
	} {
		l := newTestGroupLog(t)
		l.windows["g"] = distribute.Window{Epoch: 7}
		l.retract("g", cluster.Group{ID: x.id, Epoch: 7}, x.now)
		if l.serves("g") != x.stays {
			t.Errorf("%s: the window stays: %v", name, l.serves("g"))
		}
	}
}

// A bucket that was made anew has the tenures later than the groups. Until then, nothing says that a group is
// elsewhere: its workers are not sent away, which would lose the answers that are on their way.
func TestWindowStaysUntilTenuresAreKnown(t *testing.T) {
	before, later := cluster.Tenure{Epoch: 5, Log: "here", To: "1:0", End: cluster.Moved}, cluster.Tenure{Epoch: 9, Log: "there"}
	for name, x := range map[string]struct {
		id      string
		tenures []cluster.Tenure
		stays   bool
	}{
		"none is known":             {"id", nil, true},
		"those before it":           {"id", []cluster.Tenure{before}, true},
		"a later one":               {"id", []cluster.Tenure{before, later}, false},
		"none, and it is made anew": {"other", nil, false},
	} {
		l := newTestGroupLog(t)
		l.windows["g"] = distribute.Window{Epoch: 7}
		if err := new(handout).serveGroup(t.Context(), l, "g", cluster.Group{ID: x.id, Epoch: 7}, x.tenures); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if l.serves("g") != x.stays {
			t.Errorf("%s: the window stays: %v", name, l.serves("g"))
		}
	}
}

// A member that is not in touch says so for each partition. A refusal would end the worker.
func TestPlacesOutOfTouch(t *testing.T) {
	m, err := cluster.New(cluster.Config{Name: "LOGS", Partitions: 2}, natstest.New(t).Connect(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := &handout{c: &member{Member: m}}
	places, err := h.places(t.Context(), &protocol.Hello{Group: "g"})
	if err != nil || len(places.At) != 2 {
		t.Fatalf("%+v, %v", places, err)
	}
	for _, x := range places.At {
		if x.Address != "" || !strings.Contains(x.Reason, "not in touch") {
			t.Errorf("partition %d is at %q: %q", x.Partition, x.Address, x.Reason)
		}
	}
}
