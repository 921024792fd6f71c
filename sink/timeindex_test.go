package sink

import (
	"bytes"
	"context"
	"testing"

	"pgregory.net/rapid"

	"fanin/internal/wire"
)

// TestTimeIndex: in ledgers that are in no order of time, and that grow between two looks, the index finds the record
// that reading all of them finds.
func TestTimeIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x timeIndex
		var ledger []byte
		var all []record
		position := int64(0)
		for range rapid.IntRange(1, 4).Draw(t, "looks") {
			for range rapid.IntRange(0, 3*indexStep).Draw(t, "more") {
				r := record{op: wire.OpData, time: int64(len(all) + int(uint32(len(all))*2654435761>>16)), position: position, length: uint32(len(all) % 7)}
				if r.length == 0 {
					r.position = 0 // what carries no text has no place
				}
				position += int64(r.length)
				ledger = r.append(ledger)
				if len(all)%911 == 910 {
					ledger[len(ledger)-1]++ // damaged
					r.length = 0
				}
				all = append(all, r)
			}
			for range 5 {
				micros := rapid.Int64Range(0, int64(len(all)+70000)).Draw(t, "time")
				wantAt, wantOK := int64(0), false
				for _, r := range all {
					if r.length > 0 && r.time >= micros {
						wantAt, wantOK = r.position, true
						break
					}
					wantAt = max(wantAt, r.position+int64(r.length))
				}
				at, ok, err := x.first(context.Background(), bytes.NewReader(ledger), micros)
				if err != nil || ok != wantOK || at != wantAt {
					t.Fatalf("of %d records, the first at %d: %d, %v, %v; want %d, %v", len(all), micros, at, ok, err, wantAt, wantOK)
				}
			}
		}
	})
}

// reads counts how much is read.
type reads struct {
	*bytes.Reader
	bytes int
}

func (r *reads) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Reader.ReadAt(p, off)
	r.bytes += n
	return n, err
}

// TestTimeIndexReadsLittle: what was read of a ledger once is not read again.
func TestTimeIndexReadsLittle(t *testing.T) {
	var ledger []byte
	const records = 100 * indexStep
	for i := range records {
		r := record{op: wire.OpData, time: int64(i), position: int64(i), length: 1}
		ledger = r.append(ledger)
	}
	var x timeIndex
	in := &reads{Reader: bytes.NewReader(ledger)}
	x.first(context.Background(), in, records)
	if in.bytes != len(ledger) {
		t.Errorf("the first look has read %d of %d bytes", in.bytes, len(ledger))
	}
	for _, micros := range []int64{0, 1, records / 2, records - 1} {
		in.bytes = 0
		at, ok, err := x.first(context.Background(), in, micros)
		if at != micros || !ok || err != nil || in.bytes > 2*indexStep*recordSize {
			t.Errorf("%d: %d, %v, %v; %d bytes were read", micros, at, ok, err, in.bytes)
		}
	}
}

// BenchmarkSince finds times in a ledger of 3,000,000 records: a file of 256 MiB to which each line came by itself.
func BenchmarkSince(b *testing.B) {
	const records = 3_000_000
	ledger := make([]byte, 0, records*recordSize)
	for i := range records {
		r := record{op: wire.OpData, time: int64(i), position: int64(i) * 90, length: 90}
		ledger = r.append(ledger)
	}
	find := func(b *testing.B, x *timeIndex, n int) {
		micros := int64(n*7919) % records
		if at, ok, err := x.first(context.Background(), bytes.NewReader(ledger), micros); at != micros*90 || !ok || err != nil {
			b.Fatal(at, ok, err)
		}
	}
	b.Run("first", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			find(b, new(timeIndex), i)
		}
	})
	b.Run("later", func(b *testing.B) {
		x := new(timeIndex)
		find(b, x, records-1)
		for i := 0; b.Loop(); i++ {
			find(b, x, i)
		}
	})
}
