package collector

import (
	"fmt"
	"reflect"
)

// reloaded is what came of a reload.
type reloaded struct {
	Outcome string `json:"outcome"`
}

// reload reads the configuration again. Certificates are taken as they change;
// everything else waits for a restart, which is said.
func (c *server) reload() (reloaded, error) {
	if c.settings.file.Path == "" {
		return c.outcome("nothing to reload: there is no configuration file"), nil
	}
	s, err := c.again()
	if err != nil {
		c.log.Error("the configuration is not taken; going on with the old one", "err", err)
		return reloaded{}, fmt.Errorf("the configuration is not taken; going on with the old one:\n%w", err)
	}
	if c.settings.equal(s) {
		return c.outcome("the configuration is unchanged; certificates are taken anew as their files change"), nil
	}
	return c.outcome("the configuration is good and differs: restart to take it; no line is lost by a restart"), nil
}

func (c *server) outcome(text string) reloaded {
	c.log.Info(text)
	return reloaded{text}
}

// equal reports whether two configurations say the same.
func (s *settings) equal(t *settings) bool { return reflect.DeepEqual(s.Collector, t.Collector) }
