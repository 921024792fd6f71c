package tail

import "fanin/internal/tail/decode"

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

// checkHead is how many of a file's first bytes are examined for its encoding.
const checkHead = 64

// checkEncoding reports once that the file's lines are not readable in the encoding of its
// table. They are sent all the same: nothing is lost.
func (f *follower) checkEncoding() {
	if f.checks.encoding {
		return
	}
	reason, sure := decode.Mismatch(f.file.decoded(true), f.file.head(checkHead))
	f.checks.encoding = sure
	if reason == "" {
		return
	}
	f.t.counts.wide.Add(1)
	f.mu.Lock()
	f.report.warning = reason
	f.mu.Unlock()
	f.t.Log.Warn("the file is in another encoding than its table says, so its lines are not readable; "+
		"set encoding for it (utf-16le, utf-16be or auto), or exclude it and follow a converted copy "+
		"(iconv -t UTF-8)", "path", f.path, "reason", reason)
}
