package sink

// finding is what recovery finds of the log's files, after it has written the frames'
// text into the file of the checkpoint.
type finding struct {
	file        fate
	content     content
	rebooted    bool // mode none, and the machine was started again: nothing is redone
	rotating    bool // the checkpoint was written for a rotation: we may have moved the file ourselves
	tailWritten bool // the live file begins with the frames' text: an earlier start wrote it
	others      bool // there are files with lines that no generation names
}

// fate is what became of the checkpoint's file. It is identified by its inode.
type fate int

const (
	noCheckpoint  fate = 1 << iota // there is no state, so no file is known
	fileAtPath                     // it is the live file
	fileElsewhere                  // it has another name beside the live file
	fileGone                       // it has no name in the log's directory
)

// content is how the checkpoint's file compares with the checkpoint and the frames.
type content int

const (
	intact     content = 1 << iota // it holds what they say, and nothing else
	extended                       // it holds that, and more: another process appended to it
	incomplete                     // it does not: another process truncated it or wrote into it
)

// outcome is how the log continues.
type outcome struct {
	same           bool   // in the checkpoint's file; otherwise in the next generation
	sealed         string // the state in which the checkpoint's generation is closed
	tail           bool   // the next generation begins with the frames' text, which no file has
	newIncarnation bool   // a new incarnation: agents' saved positions count where they are ahead
	notice         string
}

// The notices of recovery.
const (
	noticeFound        = "FOUND"
	noticeRebooted     = "REBOOTED"
	noticeInterference = "INTERFERENCE"
	noticeState        = "STATE"
	noticeGone         = "GONE"
)

// outcomeRow is a row of the decision table: conditions, and what then happens.
type outcomeRow struct {
	name                                    string
	file                                    fate    // one of these
	content                                 content // one of these
	rebooted, rotating, tailWritten, others bool    // true: it must be so
	outcome
}

// outcomes is the decision table of recovery. The first row whose conditions hold
// decides. A condition that is not named does not matter.
var outcomes = []outcomeRow{
	// Without state nothing is known of the lines that are there. They are kept as
	// generations of their own.
	{name: "no state, but files", file: noCheckpoint, others: true,
		outcome: outcome{newIncarnation: true, notice: noticeFound}},
	{name: "no state", file: noCheckpoint,
		outcome: outcome{newIncarnation: true}},

	// What the write-ahead log holds may be newer or older than the file.
	{name: "reboot, file gone", file: fileGone, rebooted: true,
		outcome: outcome{sealed: stateLost, newIncarnation: true, notice: noticeRebooted}},
	{name: "reboot", file: fileAtPath | fileElsewhere, rebooted: true,
		outcome: outcome{sealed: statePlain, newIncarnation: true, notice: noticeRebooted}},

	// The usual start, and one after a crash in a rotation.
	{name: "intact", file: fileAtPath, content: intact,
		outcome: outcome{same: true}},
	{name: "rotated", file: fileElsewhere, content: intact, rotating: true,
		outcome: outcome{sealed: statePlain}},

	// Another process interfered. The file stays as it is, and what is missing from it
	// begins the next generation, unless an earlier start has already written that.
	{name: "moved or extended", file: fileAtPath | fileElsewhere, content: intact | extended,
		outcome: outcome{sealed: statePlain, newIncarnation: true, notice: noticeInterference}},
	{name: "incomplete, tail written", file: fileAtPath | fileElsewhere, content: incomplete, tailWritten: true,
		outcome: outcome{sealed: statePlain, newIncarnation: true, notice: noticeInterference}},
	{name: "incomplete", file: fileAtPath | fileElsewhere, content: incomplete,
		outcome: outcome{sealed: statePlain, newIncarnation: true, notice: noticeInterference, tail: true}},

	// If only the log was deleted, its last frames are written again. If there are other
	// files, the state may be older than they are, and then they hold the frames' lines.
	{name: "gone, tail written", file: fileGone, tailWritten: true,
		outcome: outcome{sealed: stateLost, newIncarnation: true, notice: noticeGone}},
	{name: "gone, other files", file: fileGone, others: true,
		outcome: outcome{sealed: stateLost, newIncarnation: true, notice: noticeState}},
	{name: "gone", file: fileGone,
		outcome: outcome{sealed: stateLost, newIncarnation: true, notice: noticeGone, tail: true}},
}

// decide returns the row of outcomes that f has.
func (f *finding) decide() (name string, o outcome) {
	for _, row := range outcomes {
		if row.file&f.file == 0 || row.content != 0 && row.content&f.content == 0 ||
			row.rebooted && !f.rebooted || row.rotating && !f.rotating ||
			row.tailWritten && !f.tailWritten || row.others && !f.others {
			continue
		}
		return row.name, row.outcome
	}
	panic("sink: the table of outcomes is not complete") // every fate has a row without further conditions
}
