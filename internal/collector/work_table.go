package collector

import (
	"fmt"
	"log/slog"
	"time"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/daemon"
	"fanin/sink/distribute"
)

// workTable is [collector.work].
type workTable struct {
	Listen           string            `toml:"listen"`
	TLS              *tables.ServerTLS `toml:"tls"`
	Insecure         bool              `toml:"insecure"`
	ClientNames      []string          `toml:"client_names"`
	Lease            *config.Duration  `toml:"lease"`
	Attempts         *int              `toml:"attempts"`
	Retry            *config.Duration  `toml:"retry"`
	MaxWorkers       *int              `toml:"max_workers"`
	MaxWorkersPerIP  *int              `toml:"max_workers_per_ip"`
	MaxGroups        *int              `toml:"max_groups"`
	MaxGroupsPerIP   *int              `toml:"max_groups_per_ip"`
	MaxCredit        *int              `toml:"max_credit"`
	DeadLetters      *config.Size      `toml:"dead_letters"`
	KeepForGroups    config.Size       `toml:"keep_for_groups"`
	KeepForGroupsAge config.Duration   `toml:"keep_for_groups_age"`
	allowed
}

func (t *workTable) check(c *checks) {
	c.listen(t.Listen, t.Insecure, t.TLS != nil)
	t.TLS.Check(c.Table, t.ClientNames)
	t.allowed.check(c)
	c.Bound("max_workers_per_ip", t.MaxWorkersPerIP)
	c.Bound("max_groups_per_ip", t.MaxGroupsPerIP)
	c.AtLeast("attempts", t.Attempts, 1)
	c.AtLeast("max_workers", t.MaxWorkers, 1)
	c.AtLeast("max_groups", t.MaxGroups, 1)
	c.Between("max_credit", t.MaxCredit, 1, 1<<20)
	c.DurationAtLeast("lease", t.Lease, time.Second)
	if t.Retry != nil && (time.Duration(*t.Retry) < time.Millisecond || time.Duration(*t.Retry) > time.Minute) {
		c.Problem("retry", "retry is %s; want 1ms to 1m", *t.Retry)
	}
	if t.DeadLetters != nil && *t.DeadLetters < 1<<20 {
		c.Problem("dead_letters", "dead_letters is %s; want at least 1MiB", *t.DeadLetters)
	}
}

// settings are those of the distributor that the table describes.
func (t *workTable) settings(maxWorkers int, log *slog.Logger, gate *certs.Gate) (s distribute.Settings, err error) {
	s = distribute.Settings{
		Log: log, Lease: time.Duration(config.OrZero(t.Lease)), Retry: time.Duration(config.OrZero(t.Retry)),
		Attempts:   config.OrZero(t.Attempts),
		MaxWorkers: maxWorkers, MaxWorkersPerIP: config.OrZero(t.MaxWorkersPerIP),
		MaxGroups: config.OrZero(t.MaxGroups), MaxGroupsPerIP: config.OrZero(t.MaxGroupsPerIP),
		MaxCredit: config.OrZero(t.MaxCredit), DeadLetterBytes: int64(config.OrZero(t.DeadLetters)),
	}
	if t.TLS == nil {
		return s, nil
	}
	files := t.TLS.Files(log)
	files.Gate = gate
	if s.TLS, err = files.Server(); err != nil {
		return s, &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("listen for workers on %s: %w", t.Listen, err)}
	}
	s.Allowed = certs.Named(t.ClientNames)
	return s, nil
}
