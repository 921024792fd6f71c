package decode

import "testing"

// TestDetect: the first line says whether a file is a container's log.
func TestDetect(t *testing.T) {
	const cri = "2016-10-06T00:17:09.669794202Z stdout F text"
	const docker = `{"log":"text\n","stream":"stdout","time":"2016-10-06T00:17:09.669794202Z"}`
	for _, x := range []struct {
		head  string
		whole bool
		want  Decoder
	}{
		{cri + "\n", false, CRI{}}, {cri[:40], false, CRI{}}, {cri[:30], false, nil}, {cri[:30], true, Plain{}},
		{docker + "\nx", false, Docker{}}, {docker[:20], false, Docker{}}, {docker[:5], false, nil},
		{docker[:20] + "\n", false, Plain{}}, {"", false, nil}, {"", true, Plain{}}, {"plain text\n" + cri + "\n", false, Plain{}},
	} {
		if got := Detect([]byte(x.head), x.whole); got != x.want {
			t.Errorf("%q, whole %v: %T, want %T", x.head, x.whole, got, x.want)
		}
	}
}
