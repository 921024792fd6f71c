package relp

import (
	"slices"
	"strconv"
	"sync"
)

// answer is the answer to several frames, whose numbers follow each other.
type answer struct {
	number uint32 // of the first frame
	frames uint32
	reply  reply
}

// reply is what a frame is answered with.
type reply uint8

const (
	replyOK reply = iota // the acknowledgement of a message, and of nothing else
	replyOpen
	replyOffers
	replyUnknown
	replyClose
)

// text returns the data of an answer.
func (r reply) text() string {
	switch r {
	case replyOK:
		return "200 OK"
	case replyOpen:
		return "200 OK\nrelp_version=0\nrelp_software=fanin\ncommands=syslog"
	case replyOffers:
		return "500 this server has the command syslog only, which the client does not offer"
	case replyUnknown:
		return "500 unknown command"
	}
	return ""
}

// serverClose is a hint: the session ends.
const serverClose = "0 serverclose 0\n"

// addAnswer adds the answer to the next frame.
func addAnswer(all []answer, number uint32, r reply) []answer {
	return addAnswers(all, answer{number, 1, r})
}

func addAnswers(all []answer, next ...answer) []answer {
	for _, a := range next {
		if last := len(all) - 1; last >= 0 && all[last].continues(a) {
			all[last].frames += a.frames
		} else {
			all = append(all, a)
		}
	}
	return all
}

// continues reports whether next is the same answer to the frames that follow.
func (a *answer) continues(next answer) bool {
	return a.reply == next.reply && a.number+a.frames == next.number
}

// appendFirst appends the answer to the first of the frames, as it is written.
func (a *answer) appendFirst(dst []byte) []byte {
	text := a.reply.text()
	dst = strconv.AppendUint(dst, uint64(a.number), 10)
	dst = append(dst, " rsp "...)
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	if text != "" {
		dst = append(append(dst, ' '), text...)
	}
	return append(dst, '\n')
}

// answers are those of a session that are due, in order, until its client takes them. If no
// goroutine is writing, that which has added some writes them, and those that come meanwhile.
//
// They take memory that no budget counts, for as long as the client likes. So they are kept as
// runs of numbers, and the session reads nothing more while they are many.
type answers struct {
	fewer chan struct{} // has an element after each change that a goroutine may wait for

	mu      sync.Mutex
	due     []answer
	frames  int // that are not answered
	writing bool
	failed  error  // what ended the writing
	out     []byte // what is being written
}

// Bounds of answers.
const (
	maxAnswers  = 16      // of a batch, and of a session until it is not read any more
	maxDue      = 4 << 10 // frames without an answer, the same
	writeSize   = 2 << 10 // bytes to write at a time
	outSize     = 256     // a larger block is not kept
	largeAnswer = 128     // at most
)

func newAnswers() answers { return answers{fewer: make(chan struct{}, 1)} }

// add adds answers. After a failure it drops them.
func (a *answers) add(all []answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return
	}
	a.due = addAnswers(a.due, all...)
	for _, x := range all {
		a.frames += int(x.frames)
	}
}

// next returns what is to be written now, and how many messages it acknowledges. It is nil if there is
// nothing, or another goroutine writes. The end of the write is told by written.
func (a *answers) next() (out []byte, acks int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.writing || a.failed != nil || len(a.due) == 0 {
		return nil, 0
	}
	out = a.out[:0]
	if n := a.frames * largeAnswer; cap(out) < min(n, writeSize) {
		out = make([]byte, 0, min(n, writeSize))
	}
	done := 0
	for done < len(a.due) && len(out) <= writeSize-largeAnswer {
		x := &a.due[done]
		if out = x.appendFirst(out); x.reply == replyOK {
			acks++
		}
		a.frames--
		x.number++
		if x.frames--; x.frames == 0 {
			done++
		}
	}
	a.due, a.writing = slices.Delete(a.due, 0, done), true
	return out, acks
}

// written ends a write.
func (a *answers) written(out []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writing, a.out = false, out
	if a.failed = err; err != nil {
		a.due, a.frames = nil, 0
	}
	if len(a.due) == 0 {
		a.due = nil
		if cap(out) > outSize {
			a.out = nil
		}
	}
	select {
	case a.fewer <- struct{}{}:
	default:
	}
}

// many reports whether so many are due that no more may be caused.
func (a *answers) many() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.due) >= maxAnswers || a.frames >= maxDue
}

// idle reports whether all are written, or a write has failed.
func (a *answers) idle() (idle bool, failed error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.due) == 0 && !a.writing, a.failed
}

// awaitFew waits until few are due. Only one goroutine waits at a time.
func (a *answers) awaitFew() {
	for a.many() {
		<-a.fewer
	}
}

// settle waits until all are written, and returns what failed.
func (a *answers) settle() error {
	for {
		if idle, failed := a.idle(); idle {
			return failed
		}
		<-a.fewer
	}
}
