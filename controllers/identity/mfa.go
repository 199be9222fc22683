package identity

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"rolecredential.dev/operator/controllers/credential"
)

// mfaStep is how long a code of a virtual MFA device lasts: AWS's are those of RFC 6238 with SHA-1, 6 digits and 30 s.
const mfaStep = 30 * time.Second

// Devices computes the codes of MFA devices, and gives out each once: AWS takes none twice, whoever sends it.
type Devices struct {
	mu   sync.Mutex
	used map[string]time.Time // the last step that was used, by a hash of serial number and seed
}

// maxSetBack is how far a clock may be set back before what was used by it before is forgotten.
const maxSetBack = time.Minute

// Code returns the code of a device at a time of STS's clock. If the step's code was given out already, there is none, and
// the time is when the next step begins. Nor is there one if may, which is asked last and waits for nothing, says that the
// call may not be made now: then the code is still to be had. The error is of the seed, which it does not repeat.
func (d *Devices) Code(serialNumber, seed string, now time.Time, may func() bool) (code credential.Secret, next time.Time, err error) {
	step := now.Truncate(mfaStep)
	// People copy a seed in groups of four, in lower case, and with the padding of base32 or without: it is one device all the same.
	seed = strings.TrimRight(strings.ToUpper(strings.Join(strings.Fields(seed), "")), "=")
	text, err := totp.GenerateCodeCustom(seed, now, totp.ValidateOpts{Period: uint(mfaStep / time.Second), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil || seed == "" {
		return "", time.Time{}, fmt.Errorf("the seed is not base32")
	}
	// With the seed, lest who knows but a serial number uses up another's codes.
	device := credential.Hash([]string{serialNumber, seed})
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.used, func(_ string, used time.Time) bool { return used.Before(step) || used.Sub(step) > maxSetBack })
	if used, ok := d.used[device]; ok {
		return "", used.Add(mfaStep), nil
	}
	if !may() {
		return "", time.Time{}, nil
	}
	if d.used == nil {
		d.used = map[string]time.Time{}
	}
	d.used[device] = step
	return credential.Secret(text), time.Time{}, nil
}
