package collector

import (
	"fmt"
	"reflect"
)

// reloaded is what came of a reload.
type reloaded struct {
	Outcome string `json:"outcome"`
}

// reload reads the configuration again. Certificates are read again when they change;
// everything else needs a restart.
func (c *server) reload() (reloaded, error) {
	if c.settings.file.Path == "" {
		return c.outcome("nothing to reload: there is no configuration file"), nil
	}
	s, err := c.again()
	if err != nil {
		c.log.Error("the configuration has mistakes; the collector continues with the old one", "err", err)
		return reloaded{}, fmt.Errorf("the configuration has mistakes; the collector continues with the old one:\n%w",
			err)
	}
	if c.settings.equal(s) {
		return c.outcome("the configuration is unchanged; certificates are read again when their files change"), nil
	}
	return c.outcome("the configuration has changed and has no mistakes: restart the collector to use it; a " +
		"restart loses no line"), nil
}

func (c *server) outcome(text string) reloaded {
	c.log.Info(text)
	return reloaded{text}
}

// equal reports whether two configurations are the same.
func (s *settings) equal(t *settings) bool { return reflect.DeepEqual(s.Collector, t.Collector) }
