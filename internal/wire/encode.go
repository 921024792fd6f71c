package wire

import (
	"iter"

	"github.com/tinylib/msgp/msgp"
)

// AppendHello appends a hello frame to dst.
func AppendHello(dst []byte, h Hello) []byte {
	dst = append(dst, Magic...)
	dst = msgp.AppendInt(dst, h.Version)
	dst = msgp.AppendString(dst, h.Owner())
	dst = msgp.AppendBytes(dst, h.Instance[:])
	dst = msgp.AppendInt64(dst, h.Run)
	dst = msgp.AppendString(dst, h.Host)
	return msgp.AppendString(dst, h.Software)
}

// AppendBatch appends the frame for b's operation to dst, without the text: the caller
// writes text directly after it. That is b.Text in the encoding.
func AppendBatch(dst []byte, b *Batch, encoding Encoding, text []byte) []byte {
	switch b.Op {
	case OpOpen:
		dst = appendHead(dst, 7, KindOpen, b)
		dst = msgp.AppendUint64(dst, uint64(b.Before))
		dst = msgp.AppendString(dst, b.Source)
		return msgp.AppendBytes(dst, b.Identity)
	case OpSkip:
		dst = appendHead(dst, 8, KindSkip, b)
		dst = msgp.AppendInt64(dst, b.End)
		dst = msgp.AppendUint64(dst, uint64(b.Before))
		dst = msgp.AppendUint64(dst, uint64(b.After))
		return msgp.AppendString(dst, b.Reason)
	case OpEnd:
		dst = appendHead(dst, 5, KindEnd, b)
		return msgp.AppendUint64(dst, uint64(b.Before))
	}
	dst = appendHead(dst, batchElements, KindBatch, b)
	dst = msgp.AppendInt64(dst, b.End)
	dst = msgp.AppendUint64(dst, uint64(b.Before))
	dst = msgp.AppendUint64(dst, uint64(b.After))
	dst = msgp.AppendInt64(dst, b.Time)
	dst = msgp.AppendArrayHeader(dst, uint32(len(b.Cuts)))
	for _, c := range b.Cuts {
		dst = msgp.AppendArrayHeader(dst, 3)
		dst = msgp.AppendInt(dst, c.Text)
		dst = msgp.AppendInt64(dst, c.End)
		dst = msgp.AppendUint64(dst, uint64(c.After))
	}
	dst = appendMarks(dst, b.Marks)
	if b.Joined {
		encoding |= encodingJoined
	}
	dst = msgp.AppendUint8(dst, uint8(encoding))
	dst = msgp.AppendInt(dst, len(b.Text))
	return msgp.AppendBytesHeader(dst, uint32(len(text)))
}

func appendMarks(dst []byte, marks []Mark) []byte {
	dst = msgp.AppendArrayHeader(dst, uint32(len(marks)))
	var last Labels
	for i := range marks {
		l := &marks[i].Labels
		elements := uint32(4)
		if l.Attributes != last.Attributes {
			elements++
		}
		dst = msgp.AppendArrayHeader(dst, elements)
		dst = msgp.AppendInt(dst, marks[i].Text)
		dst = appendChange(dst, last.Host, l.Host)
		dst = appendChange(dst, last.Source, l.Source)
		if l.Time.IsZero() {
			dst = msgp.AppendNil(dst)
		} else {
			dst = msgp.AppendInt64(dst, l.Time.UnixMicro())
		}
		if elements > 4 {
			dst = msgp.AppendString(dst, string(l.Attributes))
		}
		last = *l
	}
	return dst
}

// appendChange appends a name, or nil if it is that of the mark before.
func appendChange(dst []byte, before, name string) []byte {
	if name == before {
		return msgp.AppendNil(dst)
	}
	return msgp.AppendString(dst, name)
}

// appendHead appends the first elements of batch, open, skip and end.
func appendHead(dst []byte, elements uint32, kind Kind, b *Batch) []byte {
	dst = msgp.AppendArrayHeader(dst, elements)
	dst = msgp.AppendUint8(dst, uint8(kind))
	dst = msgp.AppendBytes(dst, b.Stream[:])
	dst = msgp.AppendUint32(dst, b.Epoch)
	return msgp.AppendInt64(dst, b.Offset)
}

// AppendLossy appends a whole lossy datagram to dst. It has no marks: all of its lines
// show its own source and time.
func AppendLossy(dst []byte, b *Batch) []byte {
	dst = msgp.AppendArrayHeader(dst, 11)
	dst = msgp.AppendUint8(dst, uint8(KindLossy))
	dst = msgp.AppendString(dst, b.Agent)
	dst = msgp.AppendString(dst, b.Host)
	dst = msgp.AppendString(dst, b.Source)
	dst = msgp.AppendBytes(dst, b.Stream[:])
	dst = msgp.AppendUint32(dst, b.Epoch)
	dst = msgp.AppendInt64(dst, b.Offset)
	dst = msgp.AppendInt64(dst, b.End)
	dst = msgp.AppendInt64(dst, b.FirstLine)
	dst = msgp.AppendInt64(dst, b.Time)
	return msgp.AppendBytes(dst, b.Text)
}

// AppendWelcome appends the welcome and the streams frames that follow it to dst.
func AppendWelcome(dst []byte, w Welcome) []byte {
	for frame := range WelcomeFrames(w, 0) {
		dst = append(dst, frame...)
	}
	return dst
}

// WelcomeFrames returns the welcome and the streams frames that follow it, each of at
// most limit bytes; limit is at least 4 KiB, or 0 for no bound. A frame is valid until
// the next.
func WelcomeFrames(w Welcome, limit int) iter.Seq[[]byte] {
	size := streamsPerFrame
	if limit > 0 {
		size = min(max(limit/largestState, 1), streamsPerFrame)
	}
	return func(yield func([]byte) bool) {
		streams := w.Listed()
		frame := appendWelcome(nil, &w)
		if !yield(frame) {
			return
		}
		for page := range streams.Pages(size) {
			if frame = appendStreams(frame[:0], page); !yield(frame) {
				return
			}
		}
	}
}

// largestState is the largest size of one stream in a streams frame.
const largestState = MaxName + MaxIdentity + MaxTrail*20 + 128

func appendWelcome(dst []byte, w *Welcome) []byte {
	dst = msgp.AppendArrayHeader(dst, 6)
	dst = msgp.AppendUint8(dst, uint8(KindWelcome))
	dst = msgp.AppendInt(dst, Version)
	dst = msgp.AppendBytes(dst, w.Log[:])
	dst = msgp.AppendBytes(dst, w.Incarnation[:])
	dst = msgp.AppendInt(dst, w.Listed().Count)
	return appendAbout(dst, &w.About, w.Chain)
}

// appendAbout appends a description of the log's files, about 2 KiB at most, the encodings that the
// collector reads, and the length of chains.
func appendAbout(dst []byte, a *About, chain int) []byte {
	keys := uint32(2)
	if a.Encodings != 0 {
		keys++
	}
	if chain > 0 {
		keys++
	}
	if len(a.Way.Logs) > 0 {
		keys++
	}
	dst = msgp.AppendMapHeader(dst, keys)
	dst = msgp.AppendString(msgp.AppendString(dst, "boot"), a.Boot)
	dst = msgp.AppendArrayHeader(msgp.AppendString(dst, "files"), uint32(len(a.Files)))
	for _, f := range a.Files {
		dst = msgp.AppendUint64(msgp.AppendUint64(msgp.AppendArrayHeader(dst, 4), f.Device), f.Inode)
		dst = msgp.AppendUint64(msgp.AppendInt64(dst, f.Offset), uint64(f.Tail))
	}
	if a.Encodings != 0 {
		dst = msgp.AppendUint8(msgp.AppendString(dst, "encodings"), uint8(a.Encodings))
	}
	if chain > 0 {
		dst = msgp.AppendInt(msgp.AppendString(dst, "chain"), chain)
	}
	if len(a.Way.Logs) > 0 {
		dst = appendWay(msgp.AppendString(dst, "way"), a.Way)
	}
	return dst
}

func appendWay(dst []byte, w Way) []byte {
	dst = msgp.AppendBool(msgp.AppendArrayHeader(dst, uint32(1+len(w.Logs))), w.Known)
	for i := range w.Logs {
		dst = msgp.AppendBytes(dst, w.Logs[i][:])
	}
	return dst
}

// streamsPerFrame keeps a page far below a mebibyte.
const streamsPerFrame = 512

func appendStreams(dst []byte, streams []StreamState) []byte {
	dst = msgp.AppendArrayHeader(dst, 2)
	dst = msgp.AppendUint8(dst, uint8(KindStreams))
	dst = msgp.AppendArrayHeader(dst, uint32(len(streams)))
	for i := range streams {
		s := &streams[i]
		dst = msgp.AppendArrayHeader(dst, 7)
		dst = msgp.AppendBytes(dst, s.Stream[:])
		dst = appendWatermark(dst, &s.Watermark)
		dst = msgp.AppendString(dst, s.Source)
		dst = msgp.AppendBytes(dst, s.Identity)
	}
	return dst
}

// appendWatermark appends four elements: epoch, offset, tail, trail.
func appendWatermark(dst []byte, w *Watermark) []byte {
	dst = msgp.AppendUint32(dst, w.Epoch)
	dst = msgp.AppendInt64(dst, w.Offset)
	dst = msgp.AppendUint64(dst, uint64(w.Tail))
	dst = msgp.AppendArrayHeader(dst, uint32(len(w.Trail)))
	for _, p := range w.Trail {
		dst = msgp.AppendArrayHeader(dst, 2)
		dst = msgp.AppendInt64(dst, p.Offset)
		dst = msgp.AppendUint64(dst, uint64(p.Tail))
	}
	return dst
}

// AppendAnswer appends an ack, nack, refuse or later frame to dst.
func AppendAnswer(dst []byte, a Answer) []byte {
	elements := uint32(3)
	switch a.Kind {
	case KindAck:
		elements = 2
	case KindNack:
		elements = 7
	}
	dst = msgp.AppendArrayHeader(dst, elements)
	dst = msgp.AppendUint8(dst, uint8(a.Kind))
	dst = msgp.AppendBytes(dst, a.Stream[:])
	switch a.Kind {
	case KindAck:
	case KindNack:
		dst = msgp.AppendBool(dst, a.Expected.Known)
		dst = appendWatermark(dst, &a.Expected.Watermark)
	default:
		dst = msgp.AppendString(dst, a.Reason)
	}
	return dst
}

// AppendFault appends a fault frame: why the connection ends, and after how many
// seconds to reconnect.
func AppendFault(dst []byte, reason string, seconds int64) []byte {
	dst = msgp.AppendArrayHeader(dst, 3)
	dst = msgp.AppendUint8(dst, uint8(KindFault))
	dst = msgp.AppendString(dst, reason[:min(len(reason), MaxName)])
	return msgp.AppendInt64(dst, seconds)
}

// AppendPing appends a ping (from the agent) or pong (from the collector).
func AppendPing(dst []byte, kind Kind, n int64) []byte {
	dst = msgp.AppendArrayHeader(dst, 2)
	dst = msgp.AppendUint8(dst, uint8(kind))
	return msgp.AppendInt64(dst, n)
}

// AppendDrain appends a drain frame.
func AppendDrain(dst []byte) []byte {
	return msgp.AppendUint8(msgp.AppendArrayHeader(dst, 1), uint8(KindDrain))
}
