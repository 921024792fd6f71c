package sink

import "fanin/sink/line"

// Parts takes a line of the file apart, as the log's format lays it out.
func (s *Sink) Parts(text []byte) line.Fields { return line.Parse(s.Format, text) }

// Matcher prepares f for the lines of this log.
func (s *Sink) Matcher(f line.Filter) (*line.Matcher, error) { return line.NewMatcher(s.Format, f) }
