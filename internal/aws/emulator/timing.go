package emulator

import (
	"hash/fnv"
	"strconv"
	"time"
)

// duration is how long Amazon takes for something, on average; what it is for makes its jitter its own.
type duration struct {
	what string
	mean time.Duration
}

// What Amazon takes, before the division by Config.Speed. The figures for provisioning, starting and the
// modifications are from its administration guide; the others are customers' observations.
var (
	provisioning          = duration{"provisioning", 15 * time.Minute}
	provisioningEncrypted = duration{"provisioning", 30 * time.Minute}
	starting              = duration{"starting", 90 * time.Second}
	stopping              = duration{"stopping", 3 * time.Minute}
	rebooting             = duration{"rebooting", 4 * time.Minute}
	rebuilding            = duration{"rebuilding", 30 * time.Minute}
	restoring             = duration{"restoring", 40 * time.Minute}
	maintaining           = duration{"maintaining", 60 * time.Minute}
	migrating             = duration{"migrating", 45 * time.Minute}
	imaging               = duration{"imaging", 30 * time.Minute}
	bundling              = duration{"bundling", 10 * time.Second}
	deploying             = duration{"deploying", 20 * time.Minute}
	terminating           = duration{"terminating", 5 * time.Minute}
	registering           = duration{"registering", 3 * time.Minute}
	deregistering         = duration{"deregistering", 2 * time.Minute}
	changingCompute       = duration{"compute", 30 * time.Minute}
	changingVolume        = duration{"volume", 60 * time.Minute}
	changingProtocol      = duration{"protocol", 15 * time.Minute}
)

// Durations without jitter.
const (
	visibilityLag    = 10 * time.Second // at most, between the answer to a create and the first Describe that knows
	terminatedShown  = 5 * time.Second
	directoryForgets = 10 * time.Second
	connectionCheck  = 5 * time.Minute
	// rebootStuck is when Amazon lets a reboot be asked for again.
	rebootStuck = 20 * time.Minute
	// A WorkSpace is snapshotted for the first time soon after its creation, and then every twelve hours.
	firstSnapshot = 30 * time.Minute
	snapshotEvery = 12 * time.Hour
	// migrateAge is how old a WorkSpace must be to be migrated.
	migrateAge = 12 * time.Hour
	// resizeEvery is how long to wait after the launch, and again between two modifications of the volumes or
	// two steps up in compute type. A step down can be made once in shrinkEvery.
	resizeEvery = 6 * time.Hour
	shrinkEvery = 30 * 24 * time.Hour
)

// of is how long it takes for the WorkSpace id: the mean ±20 %, always the same for the same WorkSpace.
func (d duration) of(id string, speed float64) time.Duration {
	return pace(time.Duration(float64(d.mean)*(0.8+0.4*fraction(id, d.what))), speed)
}

func pace(d time.Duration, speed float64) time.Duration {
	return time.Duration(float64(d) / speed)
}

// hash is the same for the same words in every run.
func hash(words ...string) uint64 {
	h := fnv.New64a()
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	// FNV leaves the high bits of similar short words alike; this is the finisher of MurmurHash3.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}

// fraction is a number in [0,1) that is the same for the same words in every run.
func fraction(words ...string) float64 { return float64(hash(words...)>>11) / (1 << 53) }

// wireTime goes over the wire as Amazon's does: seconds since 1970 as a number, to the millisecond.
type wireTime time.Time

func (t wireTime) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(t).UnixMilli())/1000, 'f', -1, 64), nil
}
