package cluster

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// checkKept refuses a stream of the cluster that removes entries by itself: lines would be in two tenures.
func checkKept(c *jetstream.StreamConfig, perSubject int64) error {
	name, limit, remedy := c.Name, "", ""
	old := c.Discard == jetstream.DiscardOld
	switch {
	case c.MaxAge > 0:
		limit, remedy = fmt.Sprintf("max_age = %s", c.MaxAge), "--max-age=0"
	case old && c.MaxMsgs > 0:
		limit, remedy = fmt.Sprintf("max_msgs = %d", c.MaxMsgs), "--max-msgs=-1"
	case old && c.MaxBytes > 0:
		limit, remedy = fmt.Sprintf("max_bytes = %d", c.MaxBytes), "--max-bytes=-1"
	case c.MaxMsgsPerSubject > 0 && perSubject == 0:
		limit, remedy = fmt.Sprintf("max_msgs_per_subject = %d", c.MaxMsgsPerSubject), "--max-msgs-per-subject=-1"
	case c.MaxMsgSize > 0 && c.MaxMsgSize < leastMessage:
		return fmt.Errorf("the stream %s has max_msg_size = %d, and an entry of the cluster may have %d: remove the "+
			"limit with \"nats stream edit %s --max-msg-size=-1\": %w", name, c.MaxMsgSize, leastMessage, name,
			ErrConfig)
	case c.Retention != jetstream.LimitsPolicy, c.Storage != jetstream.FileStorage:
		return fmt.Errorf("the stream %s has retention = %q and storage = %q, and the cluster needs \"Limits\" and "+
			"\"File\", so that no entry is forgotten: stop all collectors, remove the stream, and set create = "+
			"true: %w", name, c.Retention, c.Storage, ErrConfig)
	default:
		return nil
	}
	return fmt.Errorf("the stream %s has %s, which removes entries that the cluster needs: remove the limit with "+
		"\"nats stream edit %s %s\": %w", name, limit, name, remedy, ErrConfig)
}

// leastMessage is the least bound of a message's size with which a cluster works.
const leastMessage = 8 << 10

// checkBucket refuses a bucket that removes records by itself.
func checkBucket(ctx context.Context, js jetstream.JetStream, c *Config) error {
	stream, err := js.Stream(ctx, "KV_"+c.bucket())
	if err != nil {
		return fmt.Errorf("look at the limits of the KV bucket %s: %w", c.bucket(), err)
	}
	return checkKept(&stream.CachedInfo().Config, 1)
}
