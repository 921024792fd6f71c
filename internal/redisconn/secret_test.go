package redisconn

import (
	"errors"
	"strings"
	"testing"
)

// TestNoSecrets: no message shows a password, whether it was written into an address or a
// server repeats it.
func TestNoSecrets(t *testing.T) {
	for _, raw := range []string{
		"redis://app:s3cret@127.0.0.1:6379", "redis://app:s3#cret@127.0.0.1:6379", "redis://app:s3/cret@h", "redis://:s3%cret@h",
		"app:s3cret@127.0.0.1", "redis://app:s3@cret@h/x",
	} {
		_, err := parse(raw)
		if err == nil || strings.Contains(err.Error(), "s3") {
			t.Errorf("%q is refused with %v", raw, err)
		}
	}
	if _, err := parse("redis://h/no-number"); err == nil || !strings.Contains(err.Error(), "redis://h/no-number") {
		t.Errorf("an address without a login is not shown: %v", err)
	}
	err := newServerError("ERR unknown command 'AUTH', with args beginning with: 's3cret' ")
	if err.Error() != "the server answers: ERR unknown command 'AUTH'" || Classify(err) != NoAuth {
		t.Errorf("a server that does not know AUTH: %v", err)
	}
}

// TestElsewhere: an error that is none of a server gets no advice about the server.
func TestElsewhere(t *testing.T) {
	err := errors.New("refused: the log is being drained")
	if Classify(err) != Elsewhere || Explain(err) != err.Error() {
		t.Errorf("class %d: %s", Classify(err), Explain(err))
	}
	c := &Client{Login: Login{URLs: []string{"redis://127.0.0.1:1"}}}
	if _, err := c.Dial(t.Context(), ""); Classify(err) != Away || !strings.HasSuffix(Explain(err), "start the server, or correct url") {
		t.Errorf("a server that is away: %s", Explain(err))
	}
}
