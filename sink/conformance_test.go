package sink

import (
	"testing"

	"go.uber.org/goleak"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// TestAppender: the sink keeps the promise of wire.Appender, in both modes.
func TestAppender(t *testing.T) {
	for _, mode := range []string{syncCommit, syncNone} {
		t.Run(mode, func(t *testing.T) {
			appendertest.Run(t, func(t *testing.T) wire.Appender { return open(t, &Sink{Sync: mode}) })
		})
	}
}

func TestKeysAppender(t *testing.T) {
	for _, mode := range []string{syncCommit, syncNone} {
		appendertest.RunKeys(t, func(t *testing.T) wire.Appender { return open(t, &Sink{Sync: mode}) })
	}
}

func TestOwners(t *testing.T) {
	appendertest.RunOwners(t, func(t *testing.T) wire.Appender { return open(t, &Sink{Sync: syncNone}) })
}

func TestLossyAppender(t *testing.T) {
	appendertest.RunLossy(t, func(t *testing.T) wire.Appender { return open(t, &Sink{}) })
}
