package counters

// Class is what identifies a repeated line of an input, and so what the collector can
// promise its senders.
type Class byte

// The classes of inputs. In each of them, a sender's acknowledgement goes out after the
// commit, never before.
const (
	// Sequence: a position in an ordered source that can be read again. Lines are
	// written exactly once, in order.
	Sequence Class = 'A'
	// Key: a key for each request. Lines are written exactly once within the window of
	// remembered keys.
	Key Class = 'B'
	// Run: the first messages of a session equal the last ones of the session before.
	// Lines are written once, unless the sender loses its own state.
	Run Class = 'C'
	// None: nothing. What was accepted is written once, in order; what is dropped is
	// counted and reported.
	None Class = 'D'
)

// String returns the letter of the class and the word for what identifies a repeat.
func (c Class) String() string {
	switch c {
	case Sequence:
		return "A sequence"
	case Key:
		return "B key"
	case Run:
		return "C run"
	}
	return "D none"
}

// Letter returns the letter of the class.
func (c Class) Letter() string { return c.String()[:1] }
