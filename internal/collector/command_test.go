package collector

import (
	"net/url"
	"testing"
	"time"

	"fanin/internal/config/configtest"
	"fanin/sink"
)

// Every flag that takes a duration or a size accepts the units of the configuration.
func TestFlagUnits(t *testing.T) {
	if durations, sizes := configtest.FlagsHaveUnits(t, Command()); durations != 4 || sizes != 1 {
		t.Errorf("%d durations and %d sizes were tried", durations, sizes)
	}
}

// So do the flags and queries that are texts, since they may be a time as well: --since
// and --from, since=, from= and older=.
func TestQueryUnits(t *testing.T) {
	now := time.Now()
	if at, err := sink.ParseTime("2d", now); err != nil || now.Sub(at) != 48*time.Hour {
		t.Errorf("2d ago is %v, %v", at, err)
	}
	f, err := streamFilter(url.Values{"older": {"2d"}})
	if age := time.Since(f.Before); err != nil || age < 48*time.Hour || age > 49*time.Hour {
		t.Errorf("older=2d is before %v, %v", f.Before, err)
	}
}
