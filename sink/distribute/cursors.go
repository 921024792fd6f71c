package distribute

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tinylib/msgp/msgp"

	"fanin/internal/disk"
	"fanin/sink"
)

// cursors keeps where the groups stand. Two files, work/cursors-0 and
// work/cursors-1 in the state directory, are written in turn and in place, so
// that a torn one leaves the other. Little endian:
//
//	0 magic "fCUR" · 4 CRC32C of everything from byte 8 to the end of the body · 8 seq, 8 bytes
//	16 id of the log, 16 bytes · 32 length of the body · 36 body, MessagePack: an array of groups
//	  group   [name, generation, offset, [span, ...], [letter, ...],
//	           accepted, redelivered, dead, expired, bytes of dead letters]
//	  span    [generation, from, to, lines, attempts]            handed out, not done with
//	  letter  [generation, from, to, lines, attempts, reason, worker, time in microseconds]
//
// A worker is told that its answer was accepted only after the file that says so
// is durable (in mode none: written), so what was accepted never goes out again.
type cursors struct {
	d      *Distributor
	dir    string
	files  [2]*disk.File
	seq    uint64
	sync   bool
	soon   chan struct{}
	asks   chan chan error
	forgot atomic.Bool // the files must be written though no group has changed
	lost   bool        // both files were damaged
}

const (
	cursorsMagic  = "fCUR"
	cursorsHeader = 36
	workDir       = "work"
)

// How long answers are gathered before they are made durable together.
const (
	gatherDurable = 5 * time.Millisecond
	gatherWritten = time.Millisecond
	gatherShare   = 8 // times what it took the last time
	mostGather    = 250 * time.Millisecond
)

// lookEvery is how often files that nothing is written to are looked for.
const lookEvery = time.Second

func openCursors(d *Distributor) (*cursors, error) {
	c := &cursors{d: d, dir: filepath.Join(d.Sink.State, workDir), sync: d.Sink.Sync == "commit",
		soon: make(chan struct{}, 1), asks: make(chan chan error)}
	if err := CheckState(d.Sink.State); err != nil {
		return nil, err
	}
	best, found := []byte(nil), 0
	for i := range c.files {
		path := c.path(i)
		b, err := disk.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && len(b) > 0 {
			found++
		}
		if seq, ok := checkCursors(b); ok && (best == nil || seq > c.seq) {
			best, c.seq = b, seq
		}
	}
	c.lost = best == nil && found == len(c.files)
	if best != nil {
		if err := c.load(best); err != nil {
			return nil, err
		}
	}
	if c.lost {
		d.Sink.Notice("CURSORS file=%s reason=%q", c.path(0), "both files are damaged: groups begin at the start of the log, and lines that were done with are handed out again")
	}
	if err := c.open(); err != nil {
		return nil, err
	}
	if best != nil {
		if err := c.keep(best); err != nil {
			return nil, fmt.Errorf("write %s again: %w", c.path(int(c.seq%2)), err)
		}
	}
	return c, nil
}

// open opens both files, with the directory if need be, and closes those before.
func (c *cursors) open() error {
	if err := c.d.Sink.Disk.MkdirAll(c.dir, c.d.Sink.DirMode); err != nil {
		return err
	}
	for i := range c.files {
		f, err := c.d.Sink.Disk.Open(c.path(i), os.O_RDWR|os.O_CREATE, c.d.Sink.Mode)
		if err != nil {
			return err
		}
		if c.files[i] != nil {
			c.files[i].Close()
		}
		c.files[i] = f
	}
	return c.d.Sink.Disk.SyncDir(c.dir)
}

// CheckState refuses, before anything is touched, what cannot be the groups' files in
// a state directory.
func CheckState(state string) error {
	dir := filepath.Join(state, workDir)
	if err := disk.Directory(dir); err != nil {
		return fmt.Errorf("state of the groups: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state of the groups: %w", err)
	}
	for _, e := range entries {
		if err := disk.Regular(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("state of the groups: %w", err)
		}
	}
	return nil
}

// keep makes durable what was read: a process that was killed between a write and
// its sync leaves it in the page cache only. The next write goes over the other
// file, and while that lasts, this one is all there is.
func (c *cursors) keep(b []byte) error {
	f := c.files[c.seq%2]
	if _, err := f.WriteAt(b, 0); err != nil || !c.sync {
		return err
	}
	return f.Sync()
}

func (c *cursors) path(i int) string { return filepath.Join(c.dir, fmt.Sprintf("cursors-%d", i)) }

func (c *cursors) close() error { return errors.Join(c.files[0].Close(), c.files[1].Close()) }

// checkCursors reports whether b is whole.
func checkCursors(b []byte) (seq uint64, ok bool) {
	le := binary.LittleEndian
	if len(b) < cursorsHeader || string(b[:4]) != cursorsMagic || uint64(le.Uint32(b[32:])) > uint64(len(b)-cursorsHeader) {
		return 0, false
	}
	end := cursorsHeader + int(le.Uint32(b[32:]))
	return le.Uint64(b[8:]), disk.Checksum(b[8:end]) == le.Uint32(b[4:])
}

// load makes the groups that b tells of.
func (c *cursors) load(b []byte) error {
	if id := c.d.Sink.LogID(); !bytes.Equal(b[16:32], id[:]) {
		c.d.Sink.Notice("CURSORS file=%s reason=%q", c.path(int(c.seq%2)), "they are of another log and are not taken: groups begin anew")
		return nil
	}
	end := cursorsHeader + int(binary.LittleEndian.Uint32(b[32:]))
	groups, err := decodeGroups(b[cursorsHeader:end])
	if err != nil {
		return fmt.Errorf("%s: %w", c.path(int(c.seq%2)), err)
	}
	for _, s := range groups {
		g := newGroup(c.d, s.name, s.next)
		g.waiting, g.letters, g.counts, g.deadEnd = s.waiting, s.letters, s.counts, s.deadEnd
		c.d.groups[s.name] = g
	}
	return nil
}

// saveSoon has the groups saved in a moment.
func (d *Distributor) saveSoon() {
	select {
	case d.cursors.soon <- struct{}{}:
	default:
	}
}

// flush saves the groups and waits until they are.
func (c *cursors) flush(ctx context.Context) error {
	ask := make(chan error, 1)
	select {
	case c.asks <- ask:
	case <-ctx.Done():
		return fmt.Errorf("save where the groups stand: %w", ctx.Err())
	case <-c.d.ctx.Done():
		return ErrClosed
	}
	select {
	case err := <-ask:
		return err
	case <-ctx.Done():
		return fmt.Errorf("save where the groups stand: %w", ctx.Err())
	}
}

// run saves the groups whenever they changed, until ctx ends.
func (c *cursors) run(ctx context.Context) {
	gather := gatherWritten
	if c.sync {
		gather = gatherDurable
	}
	var took time.Duration
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if !c.files[0].InPlace() || !c.files[1].InPlace() {
				c.forgot.Store(true)
				c.d.saveSoon()
			}
		case <-c.soon:
			pause(ctx, max(gather, min(gatherShare*took, mostGather))) // the disk is the writer's first
			begun := time.Now()
			err := c.round(ctx)
			took = time.Since(begun)
			if err != nil {
				c.d.say("cursors", "cannot save where the groups stand; answers are not accepted until this goes well; trying again", err)
				pause(ctx, time.Second)
				c.d.saveSoon()
			}
		case ask := <-c.asks:
			ask <- c.round(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// round saves all groups if one changed, tells workers what was accepted, and
// writes what has become a dead letter.
func (c *cursors) round(ctx context.Context) error {
	groups := c.d.all()
	saving := make([][]acceptance, len(groups))
	dirty := c.forgot.Swap(false)
	body := msgp.AppendArrayHeader(nil, uint32(len(groups)))
	for i, g := range groups {
		g.mu.Lock()
		saving[i], g.unsaved = g.unsaved, nil
		dirty = dirty || g.dirty
		g.dirty = false
		for _, l := range g.letters {
			l.saved = true
		}
		body = g.state().append(body)
		g.mu.Unlock()
	}
	if !dirty {
		return nil
	}
	if err := c.write(body); err != nil {
		for i, g := range groups {
			g.mu.Lock()
			g.unsaved, g.dirty = append(saving[i], g.unsaved...), true
			g.mu.Unlock()
		}
		return err
	}
	var errs []error
	for i, g := range groups {
		g.accept(saving[i])
		errs = append(errs, g.writeLetters(ctx))
		g.moveDead()
	}
	return errors.Join(errs...)
}

// encodeCursors puts the header before body.
func encodeCursors(seq uint64, log [16]byte, body []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, cursorsHeader, cursorsHeader+len(body))
	copy(b, cursorsMagic)
	le.PutUint64(b[8:], seq)
	copy(b[16:], log[:])
	le.PutUint32(b[32:], uint32(len(body)))
	b = append(b, body...)
	le.PutUint32(b[4:], disk.Checksum(b[8:]))
	return b
}

// write makes body count.
func (c *cursors) write(body []byte) error {
	b := encodeCursors(c.seq+1, c.d.Sink.LogID(), body)
	f := c.files[(c.seq+1)%2]
	if !f.InPlace() { // deleted with the state directory: the file holds everything, each time
		if err := c.open(); err != nil {
			return fmt.Errorf("make the deleted files again: %w", err)
		}
		f = c.files[(c.seq+1)%2]
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if c.sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	c.seq++
	return nil
}

// accept tells workers that their answers are durable.
func (g *group) accept(list []acceptance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := 0; i < len(list); {
		a := list[i]
		for i++; i < len(list) && list[i].m == a.m && list[i].n == a.n && list[i].lines.from == a.lines.to; i++ {
			a.lines.to = list[i].lines.to
		}
		a.m.accepted(a.n, a.lines)
	}
}

// saved is a group as it stands in the file.
type saved struct {
	name    string
	next    sink.Position
	waiting spans
	letters []*letter
	counts  groupCounts
	deadEnd int64
}

// state is what is to be saved. g.mu is held.
func (g *group) state() *saved {
	return &saved{g.name, g.next, g.outstanding(), g.letters, g.counts, g.deadEnd}
}

func (s *saved) append(b []byte) []byte {
	b = msgp.AppendString(msgp.AppendArrayHeader(b, 10), s.name)
	b = msgp.AppendInt64(msgp.AppendUint64(b, s.next.Generation), s.next.Offset)
	b = msgp.AppendArrayHeader(b, uint32(len(s.waiting)))
	for _, x := range s.waiting {
		b = x.append(msgp.AppendArrayHeader(b, 5))
	}
	b = msgp.AppendArrayHeader(b, uint32(len(s.letters)))
	for _, l := range s.letters {
		b = l.span.append(msgp.AppendArrayHeader(b, 8))
		b = msgp.AppendInt64(msgp.AppendString(msgp.AppendString(b, l.Reason), l.Worker), l.Time.UnixMicro())
	}
	for _, n := range []uint64{s.counts.Accepted, s.counts.Redelivered, s.counts.Dead, s.counts.Expired, uint64(s.deadEnd)} {
		b = msgp.AppendUint64(b, n)
	}
	return b
}

func (s span) append(b []byte) []byte {
	b = msgp.AppendInt64(msgp.AppendInt64(msgp.AppendUint64(b, s.generation), s.from), s.to)
	return msgp.AppendInt(msgp.AppendInt(b, s.lines), s.attempts)
}

// decodeGroups reads what saved.append wrote.
func decodeGroups(b []byte) (list []*saved, err error) {
	p := parser{b: b}
	for range p.array() {
		s := new(saved)
		p.expect(10)
		s.name = p.text()
		s.next = sink.Position{Generation: p.number(), Offset: int64(p.number())}
		for range p.array() {
			p.expect(5)
			s.waiting = append(s.waiting, p.span())
		}
		for range p.array() {
			p.expect(8)
			s.letters = append(s.letters, &letter{span: p.span(), Reason: p.text(), Worker: p.text(), Time: time.UnixMicro(int64(p.number())).UTC()})
		}
		for _, to := range []*uint64{&s.counts.Accepted, &s.counts.Redelivered, &s.counts.Dead, &s.counts.Expired} {
			*to = p.number()
		}
		s.deadEnd = int64(p.number())
		list = append(list, s)
	}
	if p.err == nil && len(p.b) > 0 {
		p.err = fmt.Errorf("%d bytes too many", len(p.b))
	}
	return list, p.err
}

// parser reads MessagePack until something is wrong; then it gives zeros.
type parser struct {
	b   []byte
	err error
}

func (p *parser) array() (n uint32) {
	if p.err == nil {
		n, p.b, p.err = msgp.ReadArrayHeaderBytes(p.b)
	}
	if p.err == nil && int(n) > len(p.b) {
		p.err = fmt.Errorf("an array of %d in %d bytes", n, len(p.b))
	}
	if p.err != nil {
		return 0
	}
	return n
}

func (p *parser) expect(n uint32) {
	if got := p.array(); p.err == nil && got != n {
		p.err = fmt.Errorf("an array of %d, want %d", got, n)
	}
}

func (p *parser) number() (n uint64) {
	if p.err == nil {
		n, p.b, p.err = msgp.ReadUint64Bytes(p.b)
	}
	return n
}

func (p *parser) text() (s string) {
	if p.err == nil {
		s, p.b, p.err = msgp.ReadStringBytes(p.b)
	}
	return s
}

func (p *parser) span() span {
	return span{p.number(), int64(p.number()), int64(p.number()), int(p.number()), int(p.number())}
}
