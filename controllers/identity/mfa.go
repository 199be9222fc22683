package identity

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"rolecredential.dev/operator/controllers/request"
)

// mfaStep is the validity of a code. AWS's virtual MFA devices use RFC 6238 with SHA-1, 6 digits and 30 s.
const mfaStep = 30 * time.Second

// Devices computes the codes of MFA devices, and returns each code once: AWS accepts no code twice, from any caller.
type Devices struct {
	mu   sync.Mutex
	used map[string]time.Time // the last step that was used, by a hash of serial number and seed
}

// maxSetBack is how far a clock may be set back before the used codes of the later time are forgotten.
const maxSetBack = time.Minute

// Code returns the code of a device at a time of STS's clock. If the code of this step is already used, it returns
// the time of the next step instead. It calls allowed last; allowed must not block. If allowed returns false, Code
// returns neither, and the code remains unused. An error is about the seed, and does not contain it.
func (d *Devices) Code(serialNumber, seed string, now time.Time, allowed func() bool) (code request.RedactedString, next time.Time, err error) {
	step := now.Truncate(mfaStep)
	// Users copy seeds in groups of four, in lower case, and with or without base32 padding: all of these are the
	// same device.
	seed = strings.TrimRight(strings.ToUpper(strings.Join(strings.Fields(seed), "")), "=")
	text, err := totp.GenerateCodeCustom(seed, now, totp.ValidateOpts{Period: uint(mfaStep / time.Second), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil || seed == "" {
		return "", time.Time{}, fmt.Errorf("the seed is not base32")
	}
	// The hash includes the seed, so that a user who knows only the serial number cannot use up the codes of another
	// device.
	device := request.Hash([]string{serialNumber, seed})
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.used, func(_ string, used time.Time) bool { return used.Before(step) || used.Sub(step) > maxSetBack })
	if used, ok := d.used[device]; ok {
		return "", used.Add(mfaStep), nil
	}
	if !allowed() {
		return "", time.Time{}, nil
	}
	if d.used == nil {
		d.used = map[string]time.Time{}
	}
	d.used[device] = step
	return request.RedactedString(text), time.Time{}, nil
}
