package decode

import (
	"bytes"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Plain is the decoder of text as it is: a line is what ends in a newline, and the
// text is the raw bytes, in place. Each line end is a place. Only a byte order mark at the
// beginning of the source is left out.
type Plain struct{}

// Scale is 1: the text is the raw bytes.
func (Plain) Scale() int { return 1 }

// Window leaves room around the raw bytes for the marks of a divided line.
func (Plain) Window(block []byte) []byte {
	room := len(block) - len(wire.SplitGoesOn) - len(wire.SplitMark) - 1
	return block[len(wire.SplitGoesOn):][:min(room, wire.MaxText)]
}

// LineStart returns the place behind the last newline.
func (Plain) LineStart(raw []byte, _ int64) int {
	if end := bytes.LastIndexByte(raw, '\n') + 1; end > 0 {
		return end
	}
	return -1
}

// bom is the byte order mark that some editors put before UTF-8. It is no text.
const bom = "\xef\xbb\xbf"

// behindBOM decodes what follows the mark at the beginning of a source.
func (p Plain) behindBOM(in Input) Lines {
	in.Block, in.Raw, in.Offset = in.Block[len(bom):], in.Raw[len(bom):], int64(len(bom))
	out := p.Decode(in)
	if len(out.Text) == 0 {
		return out
	}
	out.Raw += len(bom)
	for i := range out.Cuts {
		out.Cuts[i].Raw += len(bom)
	}
	for i := range out.Each {
		out.Each[i].Raw += len(bom)
	}
	return out
}

// Decode yields whole lines up to the first that is too long, or one part of that.
func (p Plain) Decode(in Input) Lines {
	if in.Offset == 0 && len(in.Raw) > len(bom) && string(in.Raw[:len(bom)]) == bom {
		return p.behindBOM(in)
	}
	long := lines.FirstLong(in.Raw, in.MaxLine)
	if in.Inside || long == 0 {
		return p.part(in)
	}
	end := long
	if long == len(in.Raw) {
		end = bytes.LastIndexByte(in.Raw, '\n') + 1
	}
	switch {
	case end > 0 && in.Each && in.End && end < len(in.Raw) && len(in.Raw)-end < in.MaxLine:
		return p.all(in)
	case end > 0:
		text := in.Raw[:end]
		return Lines{Text: text, Cuts: cuts(text), Raw: end, Each: each(text, in.Each)}
	case !in.End:
		return Lines{}
	case len(in.Raw) == in.MaxLine: // its newline is one byte too many
		return p.part(in)
	}
	return p.last(in)
}

// all yields all lines, of which the last one has no end.
func (Plain) all(in Input) Lines {
	text := append(in.Raw, '\n')
	out := Lines{Text: text, Cuts: cuts(text), Raw: len(in.Raw), Each: each(text, true)}
	out.Each[len(out.Each)-1].Raw = out.Raw
	return out
}

// last yields a last line without an end.
func (Plain) last(in Input) Lines {
	out := Lines{Text: append(in.Raw, '\n'), Raw: len(in.Raw)}
	if in.Each {
		out.Each = []Line{{Text: len(out.Text), Raw: out.Raw}}
	}
	return out
}

// part yields one part of a line that is too long, or the last of its parts. Marks
// where it is divided are not in the source, and have no offset there.
func (Plain) part(in Input) (out Lines) {
	limit := lines.PartLimit(in.MaxLine)
	text := in.Block[len(wire.SplitGoesOn):]
	end := bytes.IndexByte(in.Raw, '\n') + 1
	switch {
	case end > 0 && end <= limit+1:
		out.Raw = end
		text = text[:end]
	case len(in.Raw) > limit:
		out.Raw = wire.CutLine(in.Raw, limit)
		out.Inside, out.Split = true, true
		text = append(append(text[:out.Raw], wire.SplitMark...), '\n')
	case in.End && len(in.Raw) > 0:
		out.Raw = len(in.Raw)
		text = append(text[:out.Raw], '\n')
	default:
		return out
	}
	if in.Inside {
		copy(in.Block, wire.SplitGoesOn)
		text = in.Block[:len(wire.SplitGoesOn)+len(text)]
	}
	out.Text = text
	return out
}

// each lists the lines of a text that is its raw bytes, if that is wanted.
func each(text []byte, wanted bool) (all []Line) {
	if !wanted {
		return nil
	}
	for end := 0; end < len(text); {
		end += bytes.IndexByte(text[end:], '\n') + 1
		all = append(all, Line{Text: end, Raw: end})
	}
	return all
}

// cuts are the places between the chunks of a text that is its raw bytes.
func cuts(text []byte) (at []Place) {
	for n := lines.ChunkLength(text); n < len(text); n += lines.ChunkLength(text[n:]) {
		at = append(at, Place{Text: n, Raw: n})
	}
	return at
}
