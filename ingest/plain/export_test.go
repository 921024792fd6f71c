package plain

// IsHTTP is isHTTP.
func IsHTTP(head []byte, long bool) bool { return isHTTP(head, long) }

// EndedByNewlines is endedByNewlines.
func EndedByNewlines(text string) string { return endedByNewlines(text) }
