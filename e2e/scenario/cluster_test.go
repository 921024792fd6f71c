package scenario

import (
	"testing"

	"fanin/e2e/rig"
)

// TestCluster lives a little of each of a cluster's days through; make torture does it often. It has a
// package of its own since it takes minutes.
func TestCluster(t *testing.T) {
	p := &Programs{Dir: t.TempDir()}
	var err error
	if p.Collector, p.Agent, err = rig.Build(p.Dir); err != nil {
		t.Fatal(err)
	}
	for _, day := range []struct {
		name   string
		play   func(*Programs, int) (*Result, error)
		rounds int
	}{
		{"faults", ClusterFaults(WholeCluster), 20},
		{"splits", ClusterSplits(WholeCluster), 12}, // each pair once
		{"moves", ClusterMoves(WholeCluster), 4},
		{"pauses", ClusterPauses(WholeCluster), 3},
		{"lost disks", ClusterLostDisks(Shape{Servers: 1, Members: 3, Partitions: 4, Agents: 3, Log: "rotate_size = \"128KiB\"\n"}), 3},
		{"lost disks, live files alone", ClusterLostDisks(Shape{Servers: 1, Members: 3, Partitions: 4, Agents: 3, Log: "sync = \"commit\"\n"}), 3},
	} {
		t.Run(day.name, func(t *testing.T) {
			r, err := day.play(p, day.rounds)
			if err != nil {
				t.Fatal(err)
			}
			if r.Lines == 0 {
				t.Fatal("no line arrived: nothing was tested")
			}
			t.Log(r)
		})
	}
}
