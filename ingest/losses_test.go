package ingest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/ingest"
)

// TestLosses: all are counted at once, and reported together, once a second and at the end.
func TestLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []int64
		l := &ingest.Losses{Counter: prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}), Report: func(n int64) { reported = append(reported, n) }}
		for range 3 {
			l.Add(2)
			l.Add(0)
		}
		if n := testutil.ToFloat64(l.Counter); n != 6 || len(reported) > 0 {
			t.Errorf("%v are counted, and %v reported at once", n, reported)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		l.Add(5)
		l.Flush()
		l.Flush()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !slices.Equal(reported, []int64{6, 5}) {
			t.Errorf("reported are %v", reported)
		}
	})
}
