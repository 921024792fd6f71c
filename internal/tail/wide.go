package tail

import "bytes"

// leastWide is how many first bytes reveal a wide encoding without a byte order mark.
const leastWide = 16

// wideEncoding returns what in a file's first bytes shows that its characters have two bytes
// or four, "" if nothing does. Such text is not decoded: a newline byte ends a line in the
// middle of a character, and every other byte is a NUL.
func wideEncoding(head []byte) string {
	for _, mark := range []struct{ bytes, name string }{
		{"\xff\xfe\x00\x00", "UTF-32LE"}, {"\x00\x00\xfe\xff", "UTF-32BE"},
		{"\xff\xfe", "UTF-16LE"}, {"\xfe\xff", "UTF-16BE"},
	} {
		if bytes.HasPrefix(head, []byte(mark.bytes)) {
			return "it begins with the byte order mark of " + mark.name
		}
	}
	if len(head) < leastWide {
		return ""
	}
	var nul [2]int // at even and at odd offsets
	for i, b := range head[:leastWide] {
		if b == 0 {
			nul[i%2]++
		}
	}
	if nul[0] == leastWide/2 && nul[1] == 0 || nul[1] == leastWide/2 && nul[0] == 0 {
		return "every second byte is NUL, as in UTF-16"
	}
	return ""
}

// passedUnfit counts lines that were not of the file's format, and reports the first of them.
func (f *follower) passedUnfit(r *read) {
	f.t.counts.unfitLines.Add(uint64(r.unfit))
	if f.checks.unfit {
		return
	}
	f.checks.unfit = true
	f.mu.Lock()
	f.report.warning = "it has lines that are not in its format"
	f.mu.Unlock()
	f.t.Log.Warn("the file has lines that are not in its format; they are sent as they are: "+
		"check the table's format", "path", f.path, "offset", r.from.Offset, "lines", r.unfit)
}

// checkEncoding reports once that the file's lines are not readable. They are sent as they
// are: nothing is lost.
func (f *follower) checkEncoding() {
	if f.checks.encoding {
		return
	}
	head := f.file.head(leastWide)
	reason := wideEncoding(head)
	f.checks.encoding = reason != "" || len(head) == leastWide
	if reason == "" {
		return
	}
	f.t.counts.wide.Add(1)
	f.mu.Lock()
	f.report.warning = reason + ", which is not decoded"
	f.mu.Unlock()
	f.t.Log.Warn("the file is not UTF-8, and is not decoded: its lines have a NUL beside each letter; "+
		"exclude it, or follow a converted copy (iconv -t UTF-8)", "path", f.path, "reason", reason)
}
