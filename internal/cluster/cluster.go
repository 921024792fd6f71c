// Package cluster spreads the partitions of one JetStream stream over several collectors, and moves
// them when collectors come, go, or die.
//
//	Member ----- KV bucket: which collectors live, which of them owns each partition
//	   |
//	   +-- Ownership of one partition, from its claim to its release
//	          |
//	          +-- Journal: what was committed of the partition, and by which log
//
// Two collectors may believe that they own a partition: one was paused, or cut off, or NATS lost
// what it had acknowledged. The journal decides. It is one subject of a JetStream stream for each
// partition. Every entry names the number of the entry before it, and the server refuses it if
// another one came between (compare and swap). An owner commits a group of messages to its own
// log, then writes the entry, and answers and acknowledges only then. The claim of another owner is
// an entry, too: from then on nothing that the older owner commits is ever made known, answered or
// acknowledged, and what it still has in its file behind its last entry belongs to no tenure.
package cluster

import (
	"errors"
	"fmt"
	"time"
)

// Config is what a member of a cluster is told.
type Config struct {
	Name          string // of the cluster, and of the stream with the lines
	Partitions    int
	TakeoverAfter time.Duration // a member that is silent for so long is replaced
	Create        bool          // make the bucket and the journal if they are missing
	Replicas      int           // of what is made

	ID   string // of the member: it survives restarts
	Host string
	HTTP string // where the member answers over HTTP; "": nowhere
	Work string // where workers connect; "": nowhere
}

// bucket is the name of the KV bucket.
func (c *Config) bucket() string { return "fanin-" + c.Name }

// journal is the name of the stream of the journals.
func (c *Config) journal() string { return "fanin-" + c.Name + "-journal" }

// beat is how often a member shows that it lives.
func (c *Config) beat() time.Duration { return max(c.TakeoverAfter/8, 50*time.Millisecond) }

// ErrFenced is wrapped by the errors of an owner whose partition has another owner now.
var ErrFenced = errors.New("another collector owns the partition now")

// ErrConfig is wrapped by errors that a restart does not fix: the configuration must change.
var ErrConfig = errors.New("the configuration does not fit the cluster")

// errCopied is of a member whose id another process has, too.
var errCopied = fmt.Errorf("two processes have one id: %w", ErrConfig)
