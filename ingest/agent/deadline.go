package agent

import "time"

// deadline is one that was set for a connection. To set one anew costs about as much as to decode a
// small frame, so one that is little later than required stays.
type deadline struct{ set time.Time }

// deadlineSlack is by what part of a bound of time a deadline may be later than required.
const deadlineSlack = 16

// move returns the deadline to set in order that it is at a time, or at most slack later; change is
// false if there is one already.
func (d *deadline) move(at time.Time, slack time.Duration) (to time.Time, change bool) {
	if late := d.set.Sub(at); late >= 0 && late <= slack {
		return d.set, false
	}
	d.set = at.Add(slack)
	return d.set, true
}
