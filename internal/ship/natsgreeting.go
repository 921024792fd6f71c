package ship

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fanin/internal/wire"
)

// helloToken is where the welcome goes, and later what the collector sends unasked. That of a hello
// that is repeated has a number behind it.
const helloToken = "hello"

// helloAgain is how long the first hello waits for its answer; each repetition waits twice as long. A
// hello can reach collectors and none of them answers: that is so while a partition goes from one
// member of a cluster to another.
const helloAgain = time.Second

// greeting is a frame that answers a hello.
type greeting struct {
	token string
	frame wire.Frame
}

// helloTokenOf is the token of the nth hello.
func helloTokenOf(n int64) string {
	if n == 1 {
		return helloToken
	}
	return helloToken + strconv.FormatInt(n, 10)
}

// repeated reports whether a token is that of a hello which was sent again since. A collector that got
// both has ended the session of the first one, and says so.
func (s *natsSession) repeated(token string) bool {
	return strings.HasPrefix(token, helloToken) && token != helloTokenOf(s.hellos.Load())
}

// greet sends the hello, again while nothing answers, and reads the welcome.
func (s *natsSession) greet(ctx context.Context) (w wire.Welcome, err error) {
	end := time.Now().Add(s.n.GreetWithin)
	for wait := helloAgain; ; wait *= 2 {
		token, err := s.sayHello()
		if err != nil {
			return w, err
		}
		answered, w, err := s.readWelcome(ctx, token, min(wait, time.Until(end)))
		if answered || err != nil {
			return w, err
		}
		if !time.Now().Before(end) {
			return w, s.noWelcome()
		}
	}
}

func (s *natsSession) sayHello() (token string, err error) {
	token = helloTokenOf(s.hellos.Add(1))
	if err := s.nc.PublishRequest(s.n.Subject.Hello(s.n.Hello.Agent), s.answerTo(token), s.n.hello); err != nil {
		return "", fmt.Errorf("send the hello: %w", err)
	}
	return token, nil
}

func (s *natsSession) noWelcome() error {
	return fmt.Errorf("no welcome within %v from a collector with agents = %q", s.n.GreetWithin, s.n.Subject)
}

// readWelcome reads the welcome to a hello and its streams, one frame a message. It is not answered if
// nothing of it comes within wait.
func (s *natsSession) readWelcome(ctx context.Context, token string, wait time.Duration) (answered bool, w wire.Welcome,
	err error) {
	silence := time.NewTimer(wait)
	defer silence.Stop()
	in := newWelcome()
	for in.left > 0 {
		select {
		case g := <-s.greeting:
			if g.token != token {
				continue
			}
			if err := in.add(&g.frame); err != nil {
				return true, w, err
			}
		case <-s.closed:
			return answered, w, s.err
		case <-ctx.Done():
			return answered, w, ctx.Err()
		case <-silence.C:
			if answered {
				return true, w, s.noWelcome()
			}
			return false, w, nil
		}
		answered = true
		silence.Reset(s.n.GreetWithin)
	}
	in.report(s.n.Log)
	s.setLongest(in.Chain)
	s.heard.Store(time.Now().UnixNano())
	return true, in.Welcome, nil
}
