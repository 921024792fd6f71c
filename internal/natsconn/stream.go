package natsconn

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Refuse says why a stream may lose messages without anybody being told.
func Refuse(c *jetstream.StreamConfig) error {
	bounded := c.MaxMsgs > 0 || c.MaxBytes > 0
	switch {
	case c.Discard == jetstream.DiscardOld && bounded:
		return fmt.Errorf("the stream %s drops its oldest messages when it is full, and tells nobody: nats stream edit %s --discard=new", c.Name, c.Name)
	case c.MaxMsgsPerSubject > 0 && !(c.Discard == jetstream.DiscardNew && c.DiscardNewPerSubject):
		return fmt.Errorf("the stream %s keeps %d messages of a subject and drops older ones, and tells nobody: nats stream edit %s --max-msgs-per-subject=-1", c.Name, c.MaxMsgsPerSubject, c.Name)
	case c.MaxAge > 0 && c.MaxAge < time.Hour:
		return fmt.Errorf("the stream %s drops messages that are %v old, whether or not they were taken, and tells nobody: nats stream edit %s --max-age=-1, or some days", c.Name, c.MaxAge, c.Name)
	}
	return nil
}
