package wire

// CleanHost is name with '_' for each byte that a host in the log may not have:
// all but [A-Za-z0-9._/:-]. What is beyond MaxName is dropped. So a name can neither
// end a line's prefix early nor begin another line.
func CleanHost(name string) string { return clean(name, inHost) }

// CleanSource is CleanHost for a source, which may have '[' and ']', as in app[17], and no
// ':', and may not be the log's own source: that gets a '_' behind it.
func CleanSource(name string) string {
	if name == SourceNotice {
		return name + "_"
	}
	return clean(name, inSource)
}

// place is where a byte may be.
type place byte

const (
	inHost place = 1 << iota
	inSource
)

func clean(name string, in place) string {
	name = name[:min(len(name), MaxName)]
	if isClean(name, in) {
		return name
	}
	b := []byte(name)
	for i, c := range b {
		if places[c]&in == 0 {
			b[i] = '_'
		}
	}
	return string(b)
}

// isClean looks at the names of each mark, so it does so without a branch for each byte.
func isClean(name string, in place) bool {
	for i := range len(name) {
		in &= places[name[i]]
	}
	return in != 0
}

// places are where each byte may be.
var places = func() (in [256]place) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-") {
		in[c] = inHost | inSource
	}
	in[':'], in['['], in[']'] = inHost, inSource, inSource
	return in
}()
