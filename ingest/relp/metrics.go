package relp

import (
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
)

// metrics count what is no line.
type metrics struct {
	maybeDoubled, jumps, unknown, exceeded, unremembered, forgotten prometheus.Counter
}

func newMetrics(m *ingest.Metrics) metrics {
	count := func(name, help string) prometheus.Counter { return m.Counter("fanin_relp_"+name, help, "", "") }
	return metrics{
		maybeDoubled: count("maybe_doubled_total", "Messages written that may be repeats: "+
			"they equal messages that a broken session had sent."),
		jumps:    count("jumps_total", "Frames whose number does not follow that of the frame before."),
		unknown:  count("unknown_commands_total", "Frames with a command that is not known, which were refused."),
		exceeded: count("window_exceeded_total", "Sessions that had more messages without an answer than window."),
		unremembered: count("unremembered_total", "Messages whose repeats would not be recognized, "+
			"because too many sessions are remembered."),
		forgotten: count("forgotten_sessions_total", "Sessions that broke and whose repeats are not recognized "+
			"any more, because of their number or age."),
	}
}

// reasons for which sessions are ended.
func reasons() []string {
	return []string{"protocol", "too_large", "no_open", "memory", "timeout", "unread", "idle", "displaced",
		"refused", "draining", "unknown"}
}
