package main

import (
	"errors"
	"fmt"
	"testing"

	"fanin/e2e/scenario"
)

// TestNotDoneIsNotPassed: a run fails when a day could not be played on this
// machine: else 100 power cuts that never came would look like 100 survived.
func TestNotDoneIsNotPassed(t *testing.T) {
	unable := trial{"cut", 1, func(*scenario.Programs, int) (*scenario.Result, error) {
		return nil, fmt.Errorf("%w: no loop devices", scenario.ErrUnable)
	}}
	if err := live(&scenario.Programs{}, unable); !errors.Is(err, scenario.ErrUnable) {
		t.Errorf("the run goes on with %v", err)
	}
	cuts := 0
	for _, trial := range trials(100, 100) {
		if trial.name == "cut" || trial.name == "cut-writeback" || trial.name == "cut-agent" {
			cuts += trial.rounds
		}
	}
	if cuts != 100 {
		t.Errorf("%d power cuts of 100 are in the run", cuts)
	}
}
