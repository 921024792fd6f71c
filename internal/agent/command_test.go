package agent

import (
	"testing"

	"fanin/internal/config/configtest"
)

// Every flag that takes a duration or a size accepts the units of the configuration.
func TestFlagUnits(t *testing.T) {
	if durations, sizes := configtest.FlagsHaveUnits(t, Command()); durations != 3 || sizes != 0 {
		t.Errorf("%d durations and %d sizes were tried", durations, sizes)
	}
}
