package collector

import (
	"fanin/ingest"
	natsin "fanin/ingest/nats"
	"fanin/internal/counters"
)

// intake is what all inputs count.
type intake struct {
	inputs    *counters.Set
	streams   *ingest.StreamMetrics
	datagrams *ingest.DatagramMetrics
	messages  *natsin.Metrics
}

func newIntake() *intake {
	return &intake{new(counters.Set), ingest.NewStreamMetrics(), ingest.NewDatagramMetrics(), natsin.NewMetrics()}
}
