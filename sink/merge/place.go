package merge

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fanin/sink"
)

// Place is a place in one partition. Its text is "partition:generation:offset", such as "3:1:4096"; in a partition that
// had more than one owner, "partition@epoch:generation:offset", since a generation means something in the log of one
// owner only.
type Place struct {
	Partition int
	Epoch     uint64 // of the owner; 0: the partition has had no other
	At        sink.Position
}

// String returns the text of p.
func (p Place) String() string {
	if p.Epoch == 0 {
		return fmt.Sprintf("%d:%s", p.Partition, p.At)
	}
	return fmt.Sprintf("%d@%d:%s", p.Partition, p.Epoch, p.At)
}

// Places is a place in each of several partitions, in their order: where a merge continues. Its text has them with
// commas between: "0:3:4096,1:2:0".
type Places []Place

// String returns the text of p.
func (p Places) String() string {
	var texts []string
	for _, place := range p {
		texts = append(texts, place.String())
	}
	return strings.Join(texts, ",")
}

// Of returns the place in a partition; false: there is none.
func (p Places) Of(partition int) (Place, bool) {
	i, ok := p.find(partition)
	if !ok {
		return Place{Partition: partition}, false
	}
	return p[i], true
}

func (p Places) find(partition int) (i int, ok bool) {
	return slices.BinarySearchFunc(p, partition, func(p Place, n int) int { return cmp.Compare(p.Partition, n) })
}

// MaxPartition is the greatest number of a partition.
const MaxPartition = 1<<16 - 1

// ParsePlaces reads what String writes, in any order. No partition may be named twice.
func ParsePlaces(text string) (list Places, err error) {
	for part := range strings.SplitSeq(text, ",") {
		p, err := parsePlace(part)
		if err != nil {
			return nil, err
		}
		i, known := list.find(p.Partition)
		if known {
			return nil, fmt.Errorf("position %q: it has partition %d twice", text, p.Partition)
		}
		list = slices.Insert(list, i, p)
	}
	return list, nil
}

func parsePlace(text string) (p Place, err error) {
	name, at, _ := strings.Cut(text, ":")
	number, epoch, moved := strings.Cut(name, "@")
	if p.Partition, err = strconv.Atoi(number); err == nil && moved {
		p.Epoch, err = strconv.ParseUint(epoch, 10, 64)
	}
	if err == nil {
		p.At, err = sink.ParsePosition(at)
	}
	if err != nil || p.Partition < 0 || p.Partition > MaxPartition || p.String() != text {
		return Place{}, fmt.Errorf("position %q: want partition:generation:offset, such as 0:3:4096, with commas "+
			"between several", text)
	}
	return p, nil
}
