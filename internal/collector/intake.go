package collector

import (
	"fanin/ingest"
	"fanin/internal/counters"
)

// intake is what all inputs count.
type intake struct {
	inputs    *counters.Set
	streams   *ingest.StreamMetrics
	datagrams *ingest.DatagramMetrics
	messages  *ingest.NATSMetrics
}

func newIntake() *intake {
	return &intake{new(counters.Set), ingest.NewStreamMetrics(), ingest.NewDatagramMetrics(), ingest.NewNATSMetrics()}
}
