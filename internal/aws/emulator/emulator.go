// Package emulator answers the Amazon WorkSpaces API over HTTP closely enough that the real AWS SDK
// cannot tell it from Amazon, with state that survives a crash and with time and faults under control.
package emulator

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"
)

// AnyUser in Directory.Users makes a directory accept every user name.
const AnyUser = "*"

const (
	defaultRegion = "us-east-1"
	defaultQuota  = 1000
	// account is the AWS account of everybody who does not name another one (see placeFrom); Amazon's own
	// documentation uses this number.
	account = "123456789012"
)

// Directory is a registered WorkSpaces directory and the people in it.
type Directory struct {
	ID     string `json:"id"`     // d- and 8 or more hexadecimal digits
	Region string `json:"region"` // default us-east-1
	// Account owns it, in twelve digits; default 123456789012. Requests reach it with the account as their access key id.
	Account string `json:"account,omitempty"`
	Name    string `json:"name"` // fully qualified, such as corp.example.com; default derived from the ID
	// Users who may be given a WorkSpace, compared without regard to case. Nobody when empty; AnyUser accepts everybody.
	Users     []string `json:"users,omitempty"`
	SubnetIDs []string `json:"subnet_ids,omitempty"` // default two made from the ID
}

// Config says what to emulate. The zero value is a usable emulator without directories.
type Config struct {
	// StateFile keeps the state as a journal of JSON lines; a lock file is put beside it. "" keeps it in memory only.
	StateFile string
	// Speed divides Amazon's durations: 600 turns its minutes into tenths of a second. What a user sets
	// (the auto-stop timeout) is not divided. Default 1.
	Speed float64
	// Now tells the time; default time.Now. The admin API can put the emulator's own time ahead of it. The Date
	// header follows neither: an SDK corrects its clock from that.
	Now func() time.Time
	// Directories are registered at the first start. A later start on the same state adds what is new among
	// them, directories and users, and changes nothing that is there.
	Directories []Directory
	// Quota is how many WorkSpaces an account may have in a Region; default 1000 (Amazon's is 1).
	Quota int
	// APIRate is how many calls per second an access key may make in a Region, by Now and whatever the Speed; more
	// are answered ThrottlingException. 0 is no limit (Amazon's is 2). APIBurst is how many may be made at once;
	// default 5, which is Amazon's.
	APIRate  float64
	APIBurst int
	// Maintenance lets Amazon start the stopped AutoStop WorkSpaces once a month, as it does to update them, in
	// directories that have maintenance mode. Default off.
	Maintenance bool
	// HourRule says how the bill counts an AutoStop WorkSpace's hours; default ClockHour.
	HourRule HourRule
	// RefundAtTermination makes the bill give back the rest of a terminated WorkSpace's month. Amazon does not say
	// whether it does.
	RefundAtTermination bool
	// Hasty answers as soon as there is an answer, instead of after two milliseconds at the least: for clients that are
	// not the bare SDK, which would now and then fail, see latency.
	Hasty bool
	// LogRequests tells Logger of every request, too.
	LogRequests bool
	// Logger hears of what went wrong inside; default slog.Default().
	Logger *slog.Logger
}

// Emulator is the emulated service: an http.Handler for Amazon's operations at / and an admin API below /_emu/.
// It is safe for concurrent use.
type Emulator struct {
	speed       float64
	now         func() time.Time
	realNow     func() time.Time // without what the admin API has put it ahead
	maintenance bool
	cfg         Config // with the defaults
	log         *slog.Logger
	// What is not known of Amazon's bill; see Config.
	hourRule HourRule
	refund   bool

	admin  http.Handler
	faults *faults
	seen   *requestLog
	rate   *throttle

	mu      sync.RWMutex // guards everything below; held for writing while a change is made durable
	world   *world
	journal *journal // nil: memory only
	closed  bool
	quota   int
	doing   *call     // the one that is being carried out and may change something
	settled time.Time // see settle
}

// New starts an emulator, reading back cfg.StateFile if there is one.
// It fails when a setting makes no sense, when the state cannot be read or written, and when another
// emulator has it open.
func New(cfg Config) (*Emulator, error) {
	rate, err := newThrottle(cfg.APIRate, cfg.APIBurst)
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	if cfg.Speed == 0 {
		cfg.Speed = 1
	}
	if !(cfg.Speed > 0) || math.IsInf(cfg.Speed, 0) {
		return nil, fmt.Errorf("emulator: speed %v is not a positive number", cfg.Speed)
	}
	if cfg.Quota == 0 {
		cfg.Quota = defaultQuota
	}
	if cfg.Quota < 0 {
		return nil, fmt.Errorf("emulator: quota %d is negative", cfg.Quota)
	}
	if cfg.HourRule == "" {
		cfg.HourRule = ClockHour
	}
	if cfg.HourRule != ClockHour && cfg.HourRule != SessionCeil {
		return nil, fmt.Errorf("emulator: hour rule %q is neither %s nor %s", cfg.HourRule, ClockHour, SessionCeil)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	w := newWorld()
	e := &Emulator{
		speed:       cfg.Speed,
		realNow:     cfg.Now,
		now:         func() time.Time { return cfg.Now().UTC().Round(0).Add(w.clock.duration()) },
		quota:       cfg.Quota,
		maintenance: cfg.Maintenance,
		log:         cfg.Logger,
		hourRule:    cfg.HourRule,
		refund:      cfg.RefundAtTermination,
		faults:      &faults{},
		seen:        newRequestLog(requestLogSize),
		world:       w,
		rate:        rate,
		cfg:         cfg,
	}
	e.admin = e.adminRoutes()

	if cfg.StateFile != "" {
		if e.journal, err = openJournal(cfg.StateFile, e.world); err != nil {
			return nil, fmt.Errorf("emulator: %w", err)
		}
	}
	if err = e.start(cfg.Directories); err != nil {
		if e.journal != nil {
			err = errors.Join(err, e.journal.close())
		}
		return nil, fmt.Errorf("emulator: %w", err)
	}
	return e, nil
}

// start brings what was loaded up to date and writes it back in its shortest form.
func (e *Emulator) start(directories []Directory) error {
	for _, d := range directories {
		records, err := e.world.merge(d)
		if err != nil {
			return err
		}
		for _, r := range records {
			e.world.install(r)
		}
	}
	e.world.forget(e.now())
	e.settleMaintenance(e.now())
	if e.journal == nil {
		return nil
	}
	return e.journal.rewrite(e.world.seq, e.world.records())
}

// AddUsers puts people into a directory; names it has already, in whatever case, are left alone.
// It fails when there is no such directory or the change cannot be made durable; then nothing was added.
func (e *Emulator) AddUsers(directoryID string, names ...string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, ok := e.world.directories[directoryID]
	if !ok {
		return fmt.Errorf("emulator: there is no directory %q", directoryID)
	}
	records, err := e.world.newUsers(d, names)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	for _, name := range names {
		if u, ok := e.world.users[userKey(d.ID, name)]; ok && u.Removed {
			records = append(records, &directoryUser{DirectoryID: d.ID, Name: name})
		}
	}
	if err := e.commit(records...); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	return nil
}

// RemoveUser takes somebody out of a directory: from now on nobody is given a WorkSpace under that name. What they
// have stays. It fails when there is no such directory, they are not in it, or the change cannot be made durable.
func (e *Emulator) RemoveUser(directoryID, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.world.directories[directoryID]; !ok {
		return fmt.Errorf("emulator: there is no directory %q", directoryID)
	}
	if !e.world.hasUser(directoryID, name) {
		return fmt.Errorf("emulator: there is no user %q in directory %s", name, directoryID)
	}
	if err := e.store(&directoryUser{DirectoryID: directoryID, Name: name, Removed: true}); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	return nil
}

// Close releases the state file. Everything answered is on disk already, so there is nothing to flush;
// later requests are answered ServiceUnavailable. Closing twice does nothing.
func (e *Emulator) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	if e.journal == nil {
		return nil
	}
	return e.journal.close()
}

// commit makes records durable and then true, in that order: a change nobody could read back after a crash
// is never seen. Faults may strike the WorkSpaces among them. The caller holds e.mu for writing.
func (e *Emulator) commit(records ...record) error {
	for _, r := range records {
		e.markAll(r)
	}
	return e.store(records...)
}

// store is commit without faults.
func (e *Emulator) store(records ...record) error {
	if len(records) == 0 {
		return nil
	}
	if e.closed {
		return errors.New("closed")
	}
	if e.journal != nil {
		if err := e.journal.append(records); err != nil {
			return fmt.Errorf("a change could not be written down and was not made: %w", err)
		}
	}
	for _, r := range records {
		e.world.install(r)
	}
	return nil
}

func userKey(directoryID, user string) string {
	return directoryID + "/" + strings.ToLower(user)
}
