package line

import "bytes"

// Find calls each with where every line of text begins and ends that the filter chooses, its
// newline included, until each returns false. Text is whole lines. If all of these lines
// contain some text, it looks for that in all of text at once, which is many times as fast as
// to look at each line.
func (m *Matcher) Find(text []byte, each func(begin, end int) bool) {
	for at := 0; at < len(text); {
		begin := at
		if len(m.literal) > 0 {
			i := bytes.Index(text[at:], m.literal)
			if i < 0 {
				return
			}
			begin = at + bytes.LastIndexByte(text[at:at+i], '\n') + 1
			at += i + len(m.literal)
		}
		at = endOf(text, at)
		if m.Match(text[begin:at]) && !each(begin, at) {
			return
		}
	}
}

// endOf returns where the line ends that byte at is in.
func endOf(text []byte, at int) int {
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(text)
}
