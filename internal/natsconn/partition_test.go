package natsconn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/natstest"
)

// A server puts each message into the partition that Partition computes, and a reader of the
// partition finds where it was published.
func TestPartitionAsTheServer(t *testing.T) {
	s := natstest.New(t)
	nc := s.Connect()
	js := s.JetStream(nc)
	for _, n := range []int{1, 3, 16, natsconn.MaxPartitions} {
		name := fmt.Sprintf("LOGS%d", n)
		prefix := natsconn.Subjects(fmt.Sprintf("fanin%d", n))
		want := natsconn.Stream{Name: name, Subjects: []string{prefix.AllBatches(), name + ".>"}, Create: true, Replicas: 1,
			Partitions: n}
		stream, created, err := want.Open(t.Context(), js)
		if err != nil || !created {
			t.Fatalf("%d partitions: %v, made: %v", n, err, created)
		}
		for i := range 100 {
			published := prefix.Batch(fmt.Sprintf("web-%d.example.net", i))
			if i%2 == 1 {
				published = fmt.Sprintf("%s.app%d.x", name, i)
			}
			ack, err := js.Publish(t.Context(), published, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			m, err := stream.GetMsg(t.Context(), ack.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			of := natsconn.OfPartition(natsconn.Partition(published, n))
			if !strings.HasPrefix(m.Subject, strings.TrimSuffix(of, ">")) || natsconn.Published(m.Subject) != published {
				t.Fatalf("%s of %d partitions is stored at %s, want %s%s", published, n, m.Subject, of, published)
			}
		}
	}
}

// A stream that is divided in another way is refused, with what to do.
func TestPartitionsFixed(t *testing.T) {
	s := natstest.New(t)
	js := s.JetStream(s.Connect())
	open := func(n int, name string) error {
		want := natsconn.Stream{Name: name, Subjects: []string{name + ".>"}, Create: true, Replicas: 1, Partitions: n}
		_, _, err := want.Open(t.Context(), js)
		return err
	}
	if err := open(4, "A"); err != nil {
		t.Fatal(err)
	}
	if err := open(0, "B"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "C", Subjects: []string{"C.>"},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: ">", Destination: "{{partition(4)}}.>"}}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		n          int
		name, want string
	}{
		{4, "A", ""},
		{8, "A", "wants partitions = 8: the number is fixed"},
		{0, "A", "read it with [collector.cluster]"},
		{4, "B", "is not divided into partitions"},
		{4, "C", "needs a work queue"},
	} {
		err := open(row.n, row.name)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%d partitions of %s: %v, want %q", row.n, row.name, err, row.want)
		}
	}
}
