package line

// CleanName keeps [A-Za-z0-9._/:-] of a host, and for a source all but ':',
// and puts '_' for what it drops: a name can neither end the prefix early nor
// begin another line.
func CleanName(name string, colon bool, empty string) string {
	ok := func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '.' || c == '_' || c == '/' || c == '-' || c == ':' && colon
	}
	b := []byte(name)
	for i, c := range b {
		if !ok(c) {
			b[i] = '_'
		}
	}
	if len(b) == 0 {
		return empty
	}
	return string(b)
}
