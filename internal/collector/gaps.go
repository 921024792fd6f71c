package collector

import (
	"context"

	"fanin/ingest/syslog"
)

// gaps counts the messages that are missing in what senders number, while the collector runs.
type gaps struct {
	syslog.Gaps
	stop context.CancelFunc
	done chan struct{}
}

// watch reports what is missing, until end.
func (g *gaps) watch() {
	ctx, stop := context.WithCancel(context.Background())
	g.stop, g.done = stop, make(chan struct{})
	go func() { // ends by stop
		defer close(g.done)
		g.Watch(ctx)
	}()
}

// end reports what was not reported yet. No messages come any more.
func (g *gaps) end() {
	if g.stop != nil {
		g.stop()
		<-g.done
	}
}
