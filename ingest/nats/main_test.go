package nats

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/ingest"
	"fanin/internal/natstest"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

func count(c prometheus.Collector) int { return int(testutil.ToFloat64(c)) }

func TestMetrics(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(NewMetrics(new(ingest.Metrics)))
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
