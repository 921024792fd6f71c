package agent

import (
	"log/slog"
	"os"
	"slices"
	"strings"

	"fanin/internal/config"
	"fanin/internal/daemon"
)

// reloadOnHangup reads the configuration again at each SIGHUP, until done.
func (a *agent) reloadOnHangup(hangups <-chan os.Signal, done <-chan struct{}, again func() (*settings, error)) {
	inForce := a.settings
	for {
		select {
		case <-done:
			return
		case <-hangups:
			daemon.Reloading()
			inForce = a.reload(inForce, again)
			daemon.Notify("READY=1")
		}
	}
}

// reloadable are the keys that a reload applies. All others need a restart.
var reloadable = []string{"agent.file", "agent.log_level"}

// reload reads the configuration again, and applies all of it or nothing. It returns the settings
// that are in force then. Certificates are read again by themselves.
func (a *agent) reload(inForce *settings, again func() (*settings, error)) *settings {
	s, err := again()
	if err == nil {
		err = s.checkPaths()
	}
	if err != nil {
		a.log.Error("SIGHUP: the configuration has mistakes; the agent continues with the old one", "err", err)
		return inForce
	}
	changed := config.Changed("agent", &inForce.Agent, &s.Agent)
	applies := func(key string) bool { return slices.Contains(reloadable, key) }
	restart := slices.DeleteFunc(slices.Clone(changed), applies)
	switch {
	case len(restart) > 0:
		a.log.Error("SIGHUP: nothing was changed, because some changes need a restart, which loses no line; until "+
			"then the agent continues with the old configuration", "restart_for", strings.Join(restart, ","))
		return inForce
	case len(changed) == 0:
		a.log.Info("SIGHUP: the configuration is unchanged; new certificates are used from the next connection on")
		return s
	}
	a.level.Set(s.level())
	a.tailer.Reload(s.files())
	a.log.Info("SIGHUP: the new configuration is in force", "changed", strings.Join(changed, ","))
	return s
}

// level is that of the agent's own log.
func (s *settings) level() (level slog.Level) {
	level.UnmarshalText([]byte(s.Agent.LogLevel)) // checked
	return level
}
