//go:build !linux

package tail

import "github.com/fsnotify/fsnotify"

// watcher listens to the system. It reports writes to all files of a directory.
type watcher struct {
	*listener
	system *fsnotify.Watcher
}

func newWatcher(wrote func(path string)) (*watcher, error) {
	system, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{listener: newListener(wrote), system: system}
	go w.listen() // ends by close
	return w, nil
}

func (w *watcher) close() {
	w.system.Close()
	<-w.ended
}

func (w *watcher) watchDir(dir string, _ bool) error { return w.system.Add(dir) }

// watchFiles reports that files are not watched by themselves.
func (w *watcher) watchFiles([]*follower) bool { return false }

func (w *watcher) keep(map[*follower]bool) {}

func (w *watcher) listen() {
	defer close(w.ended)
	for {
		select {
		case e, ok := <-w.system.Events:
			switch {
			case !ok:
				return
			case e.Has(fsnotify.Write):
				w.wrote(e.Name)
			case !e.Has(fsnotify.Chmod):
				w.changed.Store(true)
			}
		case _, ok := <-w.system.Errors:
			if !ok {
				return
			}
			w.changed.Store(true)
		}
	}
}
