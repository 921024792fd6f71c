package decode

import "bytes"

// The encodings of plain text. Auto takes what the beginning of a file shows, and UTF-8
// where it shows nothing.
const (
	encodingUTF8  = "utf-8"
	encodingLE    = "utf-16le"
	encodingBE    = "utf-16be"
	encodingAuto  = "auto"
	leastWide     = 16 // how many first bytes reveal a wide encoding without a byte order mark
	wideUndecoded = "utf-32"
)

// Encodings are the names of the encodings of plain text.
func Encodings() []string { return []string{encodingUTF8, encodingLE, encodingBE, encodingAuto} }

// encoded returns what chooses the decoders of plain text, nil if there is no such encoding.
func encoded(name string) Chooser {
	switch name {
	case "", encodingUTF8:
		return Always(Plain{})
	case encodingLE, encodingBE:
		return Always(UTF16{BigEndian: name == encodingBE})
	case encodingAuto:
		return chooseEncoding
	}
	return nil
}

// chooseEncoding is the Chooser of encoding "auto".
func chooseEncoding(head []byte, whole bool) Decoder {
	name, _ := wideEncoding(head)
	switch {
	case name == encodingLE, name == encodingBE:
		return UTF16{BigEndian: name == encodingBE}
	case whole, len(head) >= leastWide, len(head) >= 2 && !mayBeWide(head):
		return Plain{}
	}
	return nil
}

// mayBeWide reports whether two first bytes may be those of a wide encoding.
func mayBeWide(head []byte) bool { return head[0] == 0 || head[1] == 0 || head[0] >= 0xfe }

// wideEncoding returns which encoding a file's first bytes show whose characters have two
// bytes or four, and what shows it; "" if nothing does. Read as UTF-8, such text has a NUL
// beside each letter, and its lines end in the middle of a character.
func wideEncoding(head []byte) (name, reason string) {
	for _, mark := range []struct{ bytes, name, encoding string }{
		{"\xff\xfe\x00\x00", "UTF-32LE", wideUndecoded}, {"\x00\x00\xfe\xff", "UTF-32BE", wideUndecoded},
		{"\xff\xfe", "UTF-16LE", encodingLE}, {"\xfe\xff", "UTF-16BE", encodingBE},
	} {
		if bytes.HasPrefix(head, []byte(mark.bytes)) {
			return mark.encoding, "it begins with the byte order mark of " + mark.name
		}
	}
	if len(head) < leastWide {
		return "", ""
	}
	var nul [2]int // at even and at odd offsets
	for i, b := range head[:leastWide] {
		if b == 0 {
			nul[i%2]++
		}
	}
	switch {
	case nul[0] == leastWide/2 && nul[1] == 0:
		return encodingBE, "every second byte is NUL, as in UTF-16BE"
	case nul[1] == leastWide/2 && nul[0] == 0:
		return encodingLE, "every second byte is NUL, as in UTF-16LE"
	}
	return "", ""
}

// Mismatch returns why a file that begins with head is not in the encoding that d reads,
// as far as that shows; "" if it does not. It is sure once it has 16 bytes.
func Mismatch(d Decoder, head []byte) (reason string, sure bool) {
	if m, ok := d.(*Multiline); ok {
		d = m.Of
	}
	reads := encodingUTF8
	u, wide := d.(UTF16)
	switch {
	case wide && u.BigEndian:
		reads = encodingBE
	case wide:
		reads = encodingLE
	}
	name, reason := wideEncoding(head)
	switch {
	case name != "" && name != reads:
		return reason + ", and it is read as " + reads, true
	case wide && len(head) >= leastWide && bytes.IndexByte(head, 0) < 0 && isASCII(head):
		return "it begins with ASCII, and it is read as " + reads, true
	}
	return "", len(head) >= leastWide
}

func isASCII(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x80 })
}
