package redis

import (
	"time"

	"fanin/ingest"
	"fanin/internal/retry"
)

// untilDecided repeats an Append until its outcome is decided, which it returns. If the input
// ends first, known is false.
func (n *Input) untilDecided(part string, attempt func() error) (known bool, outcome error) {
	backoff := retry.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := attempt()
		if ingest.Decided(err) {
			return true, err
		}
		n.limited.Warn("redis_commit", "messages from Redis wait to be committed", "from", part, "error", err)
		if backoff.Wait(n.life.Receiving) != nil {
			return false, err
		}
	}
}
