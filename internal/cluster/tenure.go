package cluster

import "slices"

// Tenure is one log's time as the log of a partition. The tenures of a partition follow each other
// by epoch; together they hold each of its lines once. What a log has of the partition outside of
// its tenures does not count: an owner wrote it that was replaced before it could make it known.
type Tenure struct {
	Epoch uint64 `json:"epoch"`
	Owner string `json:"owner"` // the member
	Log   string `json:"log"`   // the id of its log, 32 hexadecimal digits
	From  string `json:"from"`  // position in the log, "generation:offset", where it begins
	To    string `json:"to"`    // and where it ends; "": it has not ended
	First uint64 `json:"first"` // no earlier message of the stream is in it
	Last  uint64 `json:"last"`  // nor a later one; 0: it has not ended
	End   string `json:"end"`   // "moved" or "taken"; "": it has not ended

	// When the stream got Last, in nanoseconds since 1970: another stream has other messages with the same
	// numbers. 0: it has not ended, or an earlier release wrote it.
	LastTime uint64 `json:"last_time,omitempty"`

	// The log of the owner was lost, and this one was made of the messages in the stream. What the archive
	// has of the owner's log is a tenure of the same epoch, before this one.
	Recovered bool `json:"recovered,omitempty"`
}

// recovered is how many tenures have logs that were made again.
func recovered(list []Tenure) (n int) {
	for i := range list {
		if list[i].Recovered {
			n++
		}
	}
	return n
}

// How a tenure ends.
const (
	Moved = "moved" // its owner handed the partition over
	Taken = "taken" // another owner took it: the owner was silent for takeover_after
)

// maxTenures is how many tenures a journal remembers. Those before them are of lines that
// retention has removed long ago.
const maxTenures = 1024

// closeLast ends the last tenure, if it has not ended.
func closeLast(list []Tenure, to string, last Message, end string) []Tenure {
	list = slices.Clone(list)
	if n := len(list); n > 0 && list[n-1].End == "" {
		t := &list[n-1]
		t.To, t.Last, t.LastTime, t.End = to, last.Number, last.Time, end
	}
	return list
}

// open begins a tenure. Where the log of the last one goes on, nothing is between the two. The last one's
// end changes only if the log has lost it.
func open(list []Tenure, t Tenure) []Tenure {
	list = slices.Clone(list)
	if n := len(list); n > 0 && list[n-1].Log == t.Log {
		list[n-1].To = t.From
	}
	list = append(list, t)
	return list[max(0, len(list)-maxTenures):]
}

// Later reports whether a list of tenures knows more than another one of the same partition.
func Later(list, than []Tenure) bool {
	if len(list) == 0 || len(than) == 0 {
		return len(list) > 0
	}
	a, b := list[len(list)-1], than[len(than)-1]
	switch {
	case a.Epoch != b.Epoch:
		return a.Epoch > b.Epoch
	case (a.End != "") != (b.End != ""):
		return a.End != ""
	}
	return recovered(list) > recovered(than)
}
