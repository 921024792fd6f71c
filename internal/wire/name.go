package wire

// CleanHost is name with '_' for each byte that a host in the log may not have:
// all but [A-Za-z0-9._/:-]. What is beyond MaxName is dropped. So a name can neither
// end a line's prefix early nor begin another line.
func CleanHost(name string) string { return clean(name, true) }

// CleanSource is CleanHost for a source, which may have '[' and ']', as in app[17], and no
// ':', and may not be the log's own source: that gets a '_' behind it.
func CleanSource(name string) string {
	if name == SourceNotice {
		return name + "_"
	}
	return clean(name, false)
}

func clean(name string, host bool) string {
	name = name[:min(len(name), MaxName)]
	if isClean(name, host) {
		return name
	}
	b := []byte(name)
	for i, c := range b {
		if !isCleanByte(c, host) {
			b[i] = '_'
		}
	}
	return string(b)
}

func isClean(name string, host bool) bool {
	for i := range len(name) {
		if !isCleanByte(name[i], host) {
			return false
		}
	}
	return true
}

func isCleanByte(c byte, host bool) bool {
	return nameBytes[c] || host && c == ':' || !host && (c == '[' || c == ']')
}

// nameBytes are the bytes that every name may have.
var nameBytes = func() (ok [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-") {
		ok[c] = true
	}
	return ok
}()
