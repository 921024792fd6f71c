package protocol

import (
	"cmp"
	"errors"
	"io"
	"math"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// Reader reads the frames of one side of a connection. Each announced length is checked
// against its bound before memory is allocated for it.
type Reader struct{ m *msgp.Reader }

// NewReader returns a Reader of r with a buffer of size bytes.
func NewReader(r io.Reader, size int) *Reader { return &Reader{msgp.NewReaderSize(r, size)} }

// broken turns an error of the MessagePack decoder into an Error. Errors of the connection
// stay as they are.
func broken(err error) error {
	var wrong msgp.Error
	if err == nil || !errors.As(err, &wrong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errorf("not a frame of the protocol: %v", err)
}

// Hello reads a worker's greeting.
func (r *Reader) Hello() (h Hello, err error) {
	if h.Cluster, err = r.greeting(Magic); err != nil {
		return h, err
	}
	texts := map[string]*string{"group": &h.Group, "name": &h.Name, "from": &h.From, "key": &h.Key, "token": &h.Token}
	if h.Cluster {
		texts["partition"] = &h.Partition
	}
	numbers := map[string]*int{"credit": &h.Credit, "weight": &h.Weight, "batch": &h.Batch}
	lists := map[string]*[]string{"host": &h.Host, "source": &h.Source, "include": &h.Include, "exclude": &h.Exclude}
	err = r.options(func(key string) error {
		switch {
		case texts[key] != nil:
			return r.text(texts[key])
		case numbers[key] != nil:
			return r.number(numbers[key])
		case lists[key] != nil:
			return r.texts(lists[key])
		case key == "lease":
			return r.seconds(&h.Lease)
		}
		return errorf("unknown option %q", key)
	})
	return h, broken(err)
}

// greeting reads the beginning of a greeting.
func (r *Reader) greeting(magic string) (cluster bool, err error) {
	n, err := r.m.ReadArrayHeader()
	if err != nil {
		return false, broken(err)
	}
	var kind string
	var version int
	if n != 3 {
		return false, errorf("an array of %d elements: want [%q, %d, {...}]", n, magic, Version)
	}
	if err := r.text(&kind); err != nil {
		return false, broken(err)
	}
	if kind != magic {
		return false, errorf("%.40q: want [%q, %d, {...}]", kind, magic, Version)
	}
	if err := r.number(&version); err != nil {
		return false, broken(err)
	}
	if version != Version && version != VersionCluster {
		return false, errorf("version %d of the protocol: this program has the versions %d and %d", version, Version,
			VersionCluster)
	}
	return version == VersionCluster, nil
}

// options reads a map; one reads the value of a key.
func (r *Reader) options(one func(key string) error) error {
	n, err := r.m.ReadMapHeader()
	if err != nil {
		return err
	}
	if n > 32 {
		return errorf("%d options: at most 32", n)
	}
	for range n {
		var key string
		if err := r.text(&key); err != nil {
			return err
		}
		if err := one(key); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) welcome() (w Welcome, err error) {
	var version int
	if err := r.number(&version); err != nil {
		return w, err
	}
	if version != Version {
		return w, errorf("the collector has version %d of the protocol: this program has version %d", version, Version)
	}
	err = r.options(func(key string) error {
		switch key {
		case "log":
			return r.text(&w.Log)
		case "group":
			return r.text(&w.Group)
		case "position":
			return r.text(&w.Position)
		case "format":
			return r.text(&w.Format)
		case "max_credit":
			return r.number(&w.Credit)
		case "lease":
			return r.seconds(&w.Lease)
		case "attempts":
			return r.number(&w.Attempts)
		case "partition":
			return r.text(&w.Partition)
		case "epoch":
			w.Epoch, err = r.m.ReadUint64()
			return err
		}
		return r.m.Skip() // of a later version
	})
	return w, err
}

func (r *Reader) places() (p Places, err error) {
	var version int
	if err := r.number(&version); err != nil {
		return p, err
	}
	if version != VersionCluster {
		return p, errorf("the cluster has version %d of the protocol: this program has version %d", version,
			VersionCluster)
	}
	err = r.options(func(key string) error {
		switch key {
		case "cluster":
			return r.text(&p.Cluster)
		case "partitions":
			return r.number(&p.Partitions)
		case "at":
			return r.placesAt(&p)
		}
		return r.m.Skip() // of a later version
	})
	if err == nil && (p.Partitions < 1 || p.Partitions > MaxPlaces) {
		err = errorf("a cluster of %d partitions: want 1 to %d", p.Partitions, MaxPlaces)
	}
	return p, err
}

func (r *Reader) placesAt(p *Places) error {
	n, err := r.m.ReadArrayHeader()
	if err != nil {
		return err
	}
	if n > MaxPlaces {
		return errorf("%d places: at most %d", n, MaxPlaces)
	}
	for range n {
		var x Place
		k, err := r.m.ReadArrayHeader()
		if err != nil {
			return err
		}
		if k != 3 {
			return errorf("a place of %d elements: want 3", k)
		}
		if err := cmp.Or(r.number(&x.Partition), r.text(&x.Address), r.text(&x.Reason)); err != nil {
			return err
		}
		p.At = append(p.At, x)
	}
	return nil
}

// Frame reads the next frame. The caller owns its text.
func (r *Reader) Frame() (f Frame, err error) {
	n, err := r.m.ReadArrayHeader()
	if err != nil {
		return f, broken(err)
	}
	if n == 0 || n > 5 {
		return f, errorf("an array of %d elements is not a frame", n)
	}
	var kind string
	if err := r.text(&kind); err != nil {
		return f, broken(err)
	}
	f.Kind, f.To = Kind(kind), -1
	return f, broken(r.rest(&f, n-1))
}

// lengths are how many elements may follow a frame's kind.
var lengths = map[Kind][]uint32{
	KindAck: {1, 3}, KindNack: {4}, KindRelease: {3}, KindTouch: {1}, KindCredit: {1},
	KindWelcome: {2}, KindLines: {4}, KindAccepted: {3}, KindLost: {4}, KindDrain: {0}, KindFault: {1},
	KindPlaces: {2},
}

// rest reads the n elements after a frame's kind.
func (r *Reader) rest(f *Frame, n uint32) (err error) {
	allowed, known := lengths[f.Kind]
	if !known {
		return errorf("unknown kind of frame %.40q", f.Kind)
	}
	if allowed[0] != n && allowed[len(allowed)-1] != n {
		return errorf("%q with %d elements: want %d", f.Kind, n, allowed[len(allowed)-1])
	}
	switch f.Kind {
	case KindWelcome:
		f.Welcome, err = r.welcome()
		return err
	case KindPlaces:
		f.Places, err = r.places()
		return err
	case KindCredit:
		f.Credit, err = r.m.ReadInt64()
		return err
	case KindFault:
		return r.text(&f.Reason)
	case KindDrain:
		return nil
	}
	return r.numbered(f, n)
}

// numbered reads the n elements of a frame about a delivery.
func (r *Reader) numbered(f *Frame, n uint32) (err error) {
	if f.N, err = r.m.ReadUint64(); err != nil {
		return err
	}
	if f.Kind == KindLines {
		return r.lines(f)
	}
	if n < 3 {
		return nil
	}
	if err := r.number(&f.From); err != nil {
		return err
	}
	if err := r.number(&f.To); err != nil {
		return err
	}
	if f.From < 0 || f.To <= f.From {
		return errorf("%q of lines %d to %d", f.Kind, f.From, f.To)
	}
	if n == 4 {
		return r.text(&f.Reason)
	}
	return nil
}

// lines reads what follows the number of a delivery.
func (r *Reader) lines(f *Frame) (err error) {
	if err := r.number(&f.Attempt); err != nil {
		return err
	}
	n, err := r.m.ReadArrayHeader()
	if err != nil {
		return err
	}
	if n > MaxRuns {
		return errorf("a delivery of %d runs: at most %d", n, MaxRuns)
	}
	total := int64(0)
	for range n {
		run, err := r.run()
		if err != nil {
			return err
		}
		if total += run.Length; run.Length <= 0 || run.Offset < 0 || total > MaxText {
			return errorf("a run of %d bytes at %d", run.Length, run.Offset)
		}
		f.Runs = append(f.Runs, run)
	}
	size, err := r.m.ReadBytesHeader()
	if err != nil {
		return err
	}
	if int64(size) != total {
		return errorf("runs of %d bytes with a text of %d", total, size)
	}
	f.Text = make([]byte, size)
	_, err = r.m.ReadFull(f.Text)
	return err
}

func (r *Reader) run() (run Run, err error) {
	if k, err := r.m.ReadArrayHeader(); err != nil || k != 3 {
		return run, errors.Join(err, errorf("a run has 3 elements"))
	}
	if run.Generation, err = r.m.ReadUint64(); err != nil {
		return run, err
	}
	if run.Offset, err = r.m.ReadInt64(); err != nil {
		return run, err
	}
	run.Length, err = r.m.ReadInt64()
	return run, err
}

func (r *Reader) text(v *string) error {
	n, err := r.m.ReadStringHeader()
	if err != nil {
		return err
	}
	if n > MaxString {
		return errorf("a string of %d bytes: at most %d", n, MaxString)
	}
	b := make([]byte, n)
	if _, err := r.m.ReadFull(b); err != nil {
		return err
	}
	*v = string(b)
	return nil
}

func (r *Reader) texts(v *[]string) error {
	n, err := r.m.ReadArrayHeader()
	if err != nil {
		return err
	}
	if n > MaxStrings {
		return errorf("a list of %d strings: at most %d", n, MaxStrings)
	}
	*v = make([]string, n)
	for i := range *v {
		if err := r.text(&(*v)[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) number(v *int) error {
	n, err := r.m.ReadInt64()
	if err != nil {
		return err
	}
	if n < math.MinInt32 || n > math.MaxInt32 {
		return errorf("the number %d is out of range", n)
	}
	*v = int(n)
	return nil
}

// seconds reads a number of seconds, with or without a fraction.
func (r *Reader) seconds(v *time.Duration) error {
	kind, err := r.m.NextType()
	if err != nil {
		return err
	}
	var s float64
	if kind == msgp.Float64Type || kind == msgp.Float32Type {
		s, err = r.m.ReadFloat64()
	} else {
		var n int64
		n, err = r.m.ReadInt64()
		s = float64(n)
	}
	if err != nil {
		return err
	}
	if !(s >= 0 && s < 1e9) {
		return errorf("invalid number of seconds %v", s)
	}
	*v = time.Duration(s * float64(time.Second))
	return nil
}
