package protocol

import (
	"errors"
	"io"
	"math"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// Reader reads the frames of one side of a connection. What a length claims is
// held against its bound before room is made for it.
type Reader struct{ m *msgp.Reader }

// NewReader reads from r through a buffer of size bytes.
func NewReader(r io.Reader, size int) *Reader { return &Reader{msgp.NewReaderSize(r, size)} }

// broken turns what msgp says of wrong bytes into an Error; errors of the
// connection stay what they are.
func broken(err error) error {
	var wrong msgp.Error
	if err == nil || !errors.As(err, &wrong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errorf("not what the protocol has here: %v", err)
}

// Hello reads a worker's greeting.
func (r *Reader) Hello() (h Hello, err error) {
	if err := r.greeting(Magic); err != nil {
		return h, err
	}
	err = r.options(func(key string) error {
		switch key {
		case "group":
			return r.text(&h.Group)
		case "name":
			return r.text(&h.Name)
		case "from":
			return r.text(&h.From)
		case "key":
			return r.text(&h.Key)
		case "credit":
			return r.number(&h.Credit)
		case "weight":
			return r.number(&h.Weight)
		case "batch":
			return r.number(&h.Batch)
		case "lease":
			return r.seconds(&h.Lease)
		case "host":
			return r.texts(&h.Host)
		case "source":
			return r.texts(&h.Source)
		case "include":
			return r.texts(&h.Include)
		case "exclude":
			return r.texts(&h.Exclude)
		}
		return errorf("unknown option %q", key)
	})
	return h, broken(err)
}

// greeting reads what a greeting begins with.
func (r *Reader) greeting(magic string) error {
	n, err := r.m.ReadArrayHeader()
	if err != nil {
		return broken(err)
	}
	var kind string
	var version int
	if n != 3 {
		return errorf("an array of %d where [%q, %d, {...}] belongs", n, magic, Version)
	}
	if err := r.text(&kind); err != nil {
		return broken(err)
	}
	if kind != magic {
		return errorf("%.40q where [%q, %d, {...}] belongs", kind, magic, Version)
	}
	if err := r.number(&version); err != nil {
		return broken(err)
	}
	if version != Version {
		return errorf("version %d of the protocol; this program speaks %d", version, Version)
	}
	return nil
}

func (r *Reader) options(one func(key string) error) error {
	n, err := r.m.ReadMapHeader()
	if err != nil {
		return err
	}
	if n > 32 {
		return errorf("%d options", n)
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
		return w, errorf("the collector speaks version %d of the protocol; this program speaks %d", version, Version)
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
		}
		return r.m.Skip() // of a later version
	})
	return w, err
}

// Frame reads the next frame. The text is the caller's.
func (r *Reader) Frame() (f Frame, err error) {
	n, err := r.m.ReadArrayHeader()
	if err != nil {
		return f, broken(err)
	}
	if n == 0 || n > 5 {
		return f, errorf("an array of %d is no frame", n)
	}
	var kind string
	if err := r.text(&kind); err != nil {
		return f, broken(err)
	}
	f.Kind, f.To = Kind(kind), -1
	return f, broken(r.rest(&f, n-1))
}

// lengths says how many elements follow a frame's kind.
var lengths = map[Kind][]uint32{
	KindAck: {1, 3}, KindNack: {4}, KindRelease: {3}, KindTouch: {1}, KindCredit: {1},
	KindWelcome: {2}, KindLines: {4}, KindAccepted: {3}, KindLost: {4}, KindDrain: {0}, KindFault: {1},
}

func (r *Reader) rest(f *Frame, n uint32) (err error) {
	allowed, known := lengths[f.Kind]
	if !known {
		return errorf("unknown kind of frame %.40q", f.Kind)
	}
	if allowed[0] != n && allowed[len(allowed)-1] != n {
		return errorf("%q with %d elements; want %d", f.Kind, n, allowed[len(allowed)-1])
	}
	switch f.Kind {
	case KindWelcome:
		f.Welcome, err = r.welcome()
		return err
	case KindCredit:
		f.Credit, err = r.m.ReadInt64()
		return err
	case KindFault:
		return r.text(&f.Reason)
	case KindDrain:
		return nil
	}
	if f.N, err = r.m.ReadUint64(); err != nil {
		return err
	}
	if f.Kind == KindLines {
		return r.lines(f)
	}
	if n >= 3 {
		if err := r.number(&f.From); err != nil {
			return err
		}
		if err := r.number(&f.To); err != nil {
			return err
		}
		if f.From < 0 || f.To <= f.From {
			return errorf("%q of lines %d to %d", f.Kind, f.From, f.To)
		}
	}
	if n == 4 {
		return r.text(&f.Reason)
	}
	return nil
}

func (r *Reader) lines(f *Frame) (err error) {
	if err := r.number(&f.Attempt); err != nil {
		return err
	}
	n, err := r.m.ReadArrayHeader()
	if err != nil {
		return err
	}
	if n > MaxRuns {
		return errorf("a delivery of %d runs", n)
	}
	total := int64(0)
	for range n {
		var run Run
		if k, err := r.m.ReadArrayHeader(); err != nil || k != 3 {
			return errors.Join(err, errorf("a run has 3 elements"))
		}
		if run.Generation, err = r.m.ReadUint64(); err != nil {
			return err
		}
		if run.Offset, err = r.m.ReadInt64(); err != nil {
			return err
		}
		if run.Length, err = r.m.ReadInt64(); err != nil {
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
		return errorf("runs of %d bytes and a text of %d", total, size)
	}
	f.Text = make([]byte, size)
	_, err = r.m.ReadFull(f.Text)
	return err
}

func (r *Reader) text(v *string) error {
	n, err := r.m.ReadStringHeader()
	if err != nil {
		return err
	}
	if n > MaxString {
		return errorf("a string of %d bytes; at most %d", n, MaxString)
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
		return errorf("a list of %d; at most %d", n, MaxStrings)
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
		return errorf("%d is out of all bounds", n)
	}
	*v = int(n)
	return nil
}

// seconds takes whole and broken ones.
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
		return errorf("%v is no number of seconds", s)
	}
	*v = time.Duration(s * float64(time.Second))
	return nil
}
