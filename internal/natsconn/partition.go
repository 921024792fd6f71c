package natsconn

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// MaxPartitions is how many partitions a stream may be divided into.
const MaxPartitions = 256

// Partition is the partition of a subject in a stream that is divided into n: FNV-1a (32 bits) of
// the whole subject, modulo n. It is what the function partition(n) of a NATS server's subject
// transform computes (nats-server, server/subject_transform.go).
func Partition(subject string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(subject))
	return int(h.Sum32() % uint32(n))
}

// A stream with n partitions stores the message published on SUBJECT on "P.SUBJECT": P is the
// message's partition, in decimal.

// partitioning is the subject transform of a stream with n partitions.
func partitioning(n int) *jetstream.SubjectTransformConfig {
	return &jetstream.SubjectTransformConfig{Source: ">", Destination: fmt.Sprintf("{{partition(%d)}}.>", n)}
}

// OfPartition is the wildcard of all that a stream has of a partition.
func OfPartition(p int) string { return fmt.Sprintf("%d.>", p) }

// Published is where a message was published that a stream with partitions has on subject.
func Published(subject string) string { return subject[strings.IndexByte(subject, '.')+1:] }

// checkPartitions refuses a stream that is divided in another way: then messages of one source
// would be in two partitions, and their order would be lost.
func (s *Stream) checkPartitions(c *jetstream.StreamConfig) error {
	switch t := c.SubjectTransform; {
	case s.Partitions == 0 && t == nil:
		return nil
	case s.Partitions == 0 && strings.Contains(t.Destination, "partition("):
		return fmt.Errorf("the stream %s is divided into partitions (%s): read it with [collector.cluster]",
			c.Name, t.Destination)
	case s.Partitions == 0:
		return nil
	case t == nil:
		return fmt.Errorf("the stream %s is not divided into partitions: the number is fixed when a stream is made; "+
			"give the cluster another name, or remove the stream once it is empty", c.Name)
	case *t != *partitioning(s.Partitions):
		return fmt.Errorf("the stream %s is divided by %q, and the configuration wants partitions = %d: the number "+
			"is fixed for the stream's life; set it back, or give the cluster another name", c.Name, t.Destination,
			s.Partitions)
	case s.Keep && c.Retention == jetstream.LimitsPolicy, c.Retention == jetstream.WorkQueuePolicy:
		return nil
	}
	return fmt.Errorf("the stream %s keeps messages after they were acknowledged: without [collector.archive], a "+
		"cluster needs a work queue; configure the archive, or remove the stream once it is empty, and set create = "+
		"true", c.Name)
}

// Keeps reports whether a stream keeps messages until they are purged.
func Keeps(stream jetstream.Stream) bool {
	return stream.CachedInfo().Config.Retention == jetstream.LimitsPolicy
}
