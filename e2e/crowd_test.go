package e2e

import (
	"testing"
	"time"

	"fanin/e2e/load"
	"fanin/e2e/scenario"
)

// TestCrowd: 200 agents that start anew, with and without TLS, and a collector that is killed: no line
// of any of them is lost, doubled or out of order. The large crowds are a mode of the bench.
func TestCrowd(t *testing.T) {
	f := func(name string, day *scenario.Crowd) {
		t.Run(name, func(t *testing.T) {
			day.Agents, day.Least, day.Most, day.Burst, day.Restarts = 200, 10, 30, 40, 0.05
			day.For, day.Kills = 2*time.Second, 1
			r, err := programs.Crowd(day)
			if err != nil {
				t.Fatal(err)
			}
			if r.Result.Lines == 0 {
				t.Fatal("no line arrived: nothing was tested")
			}
			t.Log(r)
		})
	}
	f("commit", &scenario.Crowd{Sync: "commit"})
	f("TLS, none", &scenario.Crowd{Sync: "none", TLS: true, Resume: true, Crowd: load.Crowd{Seed: 1}})
}
