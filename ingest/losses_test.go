package ingest_test

import (
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
		reports := make(chan int64, 10)
		l := &ingest.Losses{Counter: prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}), Report: func(n int64) { reports <- n }}
		for range 3 {
			l.Add(2)
			l.Add(0)
		}
		if n := testutil.ToFloat64(l.Counter); n != 6 || len(reports) > 0 {
			t.Errorf("%v are counted, and %d times reported at once", n, len(reports))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		l.Add(5)
		l.Flush()
		l.Flush()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(reports) != 2 || <-reports != 6 || <-reports != 5 {
			t.Errorf("the reports are not of 6 and 5")
		}
	})
}
