package cluster

import "testing"

// A group does not wait for a member that is gone, if its record says that it has finished what that had.
func TestFinishedTenure(t *testing.T) {
	ended := Tenure{Epoch: 3, Log: "a", From: "0:10", To: "1:200", End: Taken}
	for name, x := range map[string]struct {
		group Group
		of    Tenure
		want  bool
	}{
		"at its end":             {Group{Log: "a", Done: "1:200", DoneIn: 3}, ended, true},
		"behind its end":         {Group{Log: "a", Done: "2:0", DoneIn: 3}, ended, true},
		"before its end":         {Group{Log: "a", Done: "1:199", DoneIn: 3}, ended, false},
		"in another file":        {Group{Log: "a", Done: "0:900", DoneIn: 3}, ended, false},
		"in another log":         {Group{Log: "b", Done: "1:200", DoneIn: 3}, ended, false},
		"in an earlier tenure":   {Group{Log: "a", Done: "1:200", DoneIn: 2}, ended, false},
		"in no known tenure":     {Group{Log: "a", Done: "1:200"}, ended, false},
		"not known":              {Group{}, ended, false},
		"not known, of no log":   {Group{}, Tenure{To: "0:0", End: Taken}, false},
		"it has not ended":       {Group{Log: "a", Done: "1:200", DoneIn: 3}, Tenure{Epoch: 3, Log: "a"}, false},
		"it cannot be read":      {Group{Log: "a", Done: "x", DoneIn: 3}, ended, false},
		"its end cannot be read": {Group{Log: "a", Done: "1:200"}, Tenure{Log: "a", To: "x", End: Taken}, false},
	} {
		if got := x.group.Finished(&x.of); got != x.want {
			t.Errorf("%s: finished %t, want %t", name, got, x.want)
		}
	}
}
