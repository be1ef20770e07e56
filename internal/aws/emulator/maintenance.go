package emulator

import (
	"slices"
	"time"
)

// Once a month Amazon starts the AutoStop WorkSpaces that are stopped, to update them: within two weeks from
// the third Monday on, at night.
const (
	maintenanceNights = 14
	maintenanceWindow = 5 * time.Hour // from midnight
)

// maintains reports whether the WorkSpaces of a directory are maintained.
func (e *Emulator) maintains(d *directory) bool {
	on, _ := d.setting("WorkspaceCreationProperties")["EnableMaintenanceMode"].(bool)
	return e.maintenance && on
}

// settleMaintenance makes the setting that the emulator was started with true of the WorkSpaces there are,
// from now on: what happened to them before stays as it was.
func (e *Emulator) settleMaintenance(now time.Time) {
	for _, o := range slices.Clone(e.world.order) {
		on := e.maintains(e.world.directories[o.DirectoryID])
		if on == !o.Maintained.IsZero() {
			continue
		}
		v := o.at(now)
		v.Maintained = time.Time{}
		if on {
			v.Maintained = now
		}
		e.world.install(&v)
	}
}

// nextMaintenance is when a stopped WorkSpace is started by Amazon next. Its volumes cannot be modified and
// maintained at once. Every WorkSpace has its own night and hour. They are UTC's in every Region, and pass in
// real time, whatever the speed.
func (w *workspace) nextMaintenance() time.Time {
	after := w.Since
	for _, t := range []time.Time{w.Maintained, w.ModeAt} {
		if t.After(after) {
			after = t
		}
	}
	if w.Change.ofVolume() && w.Change.Done.After(after) {
		after = w.Change.Done
	}
	longest := time.Duration(1.2 * float64(maintaining.mean))
	into := time.Duration(fraction(w.ID, "hour") * float64(maintenanceWindow-longest))
	into += time.Duration(hash(w.ID, "night")%maintenanceNights) * 24 * time.Hour
	for month := -1; ; month++ { // the nights may reach into the next month
		first := time.Date(after.Year(), after.Month()+time.Month(month), 1, 0, 0, 0, 0, time.UTC)
		if at := thirdMonday(first).Add(into); at.After(after) {
			return at
		}
	}
}

// thirdMonday of the month that begins with first.
func thirdMonday(first time.Time) time.Time {
	days := (int(time.Monday-first.Weekday()) + 7) % 7
	return first.AddDate(0, 0, days+14)
}
