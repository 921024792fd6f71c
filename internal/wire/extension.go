package wire

import "fmt"

// Extension is a small value that the keeper remembers together with a batch's
// lines: it is committed in the same frame, and can be read back after a restart.
// The keeper does not look into it. Never sent: an input of the collector sets it.
//
// An input uses it for what it must know of lines that are committed, such as the
// hashes of frames whose acknowledgement the sender may not have seen.
type Extension struct {
	Kind  ExtensionKind
	Name  string
	Value []byte // empty: forget the value of this name
}

// ExtensionKind names the part of the program that an extension belongs to.
type ExtensionKind uint16

// FirstExtensionKind is the first kind that inputs may use. The kinds below are the
// keeper's own.
const FirstExtensionKind ExtensionKind = 16

// The kinds that inputs use.
const (
	ExtensionRedisStream = FirstExtensionKind + iota // the id of a stream's latest entry
	ExtensionRedisList                               // the number of a list's latest batch
	ExtensionRELP                                    // hashes of the last frames of a session
)

// Limits of extensions. A batch that has some is committed in one frame, never
// divided, and may therefore hold no more than one cut of text.
const (
	MaxExtensionName  = 64       // bytes of a name
	MaxExtensionValue = 4 << 10  // bytes of a value
	MaxExtensionBatch = 64 << 10 // bytes of all names and values of a batch
	MaxExtensions     = 16 << 10 // values that a keeper remembers
)

// isOneCut reports whether text needs no cut: it is small enough, or one line.
func isOneCut(text []byte) bool {
	n := countLines(text)
	return n <= 1 || n <= MaxCutLines && len(text) <= MaxCutText
}

func (b *Batch) checkExtensions() error {
	if len(b.Extensions) == 0 {
		return nil
	}
	size := 0
	for _, x := range b.Extensions {
		switch {
		case x.Kind < FirstExtensionKind:
			return &Refused{fmt.Sprintf("extensions of kind %d are the collector's own", x.Kind)}
		case len(x.Name) > MaxExtensionName || len(x.Value) > MaxExtensionValue:
			return &Refused{fmt.Sprintf("an extension has a name of %d bytes and a value of %d; at most %d and %d",
				len(x.Name), len(x.Value), MaxExtensionName, MaxExtensionValue)}
		}
		size += len(x.Name) + len(x.Value)
	}
	switch {
	case b.Op != OpData || b.Kind == StreamLossy:
		return &Refused{"only lines that are acknowledged have extensions"}
	case size > MaxExtensionBatch:
		return &Refused{fmt.Sprintf("%d bytes of extensions, at most %d", size, MaxExtensionBatch)}
	case !isOneCut(b.Text):
		return &Refused{fmt.Sprintf("a batch with extensions is not divided: at most %d lines in %d bytes",
			MaxCutLines, MaxCutText)}
	}
	return nil
}
