package stsemulator

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238 and AWS's virtual MFA devices use it
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// MFADevice is a user's virtual MFA device. Its serial number is arn:aws:iam::<account>:mfa/<name>, in the account's partition.
type MFADevice struct {
	Name string `json:"name"`
	// Seed is the secret of the codes, in base32 without padding.
	Seed string `json:"seed"`
}

var mfaNames = regexp.MustCompile(`^[\w+=,.@-]{1,226}$`)

func (d MFADevice) validate() error {
	if !mfaNames.MatchString(d.Name) {
		return fmt.Errorf("MFA device %q: name must be 1 to 226 of [\\w+=,.@-]", d.Name)
	}
	if _, err := decodeSeed(d.Seed); err != nil {
		return fmt.Errorf("MFA device %q: %w", d.Name, err)
	}
	return nil
}

func decodeSeed(seed string) ([]byte, error) {
	decoded, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(seed))
	if err != nil || len(decoded) < 10 {
		return nil, fmt.Errorf("seed must be at least 16 characters of base32")
	}
	return decoded, nil
}

// mfaStep is the lifetime of a code.
const mfaStep = 30 * time.Second

// MFACode returns the code of a device at a time: six digits, by RFC 6238 with HMAC-SHA-1 and steps of 30 seconds.
func MFACode(seed string, at time.Time) (string, error) {
	decoded, err := decodeSeed(seed)
	if err != nil {
		return "", err
	}
	return totp(decoded, stepOf(at)), nil
}

func stepOf(t time.Time) int64 { return t.Unix() / int64(mfaStep.Seconds()) }

// totp returns RFC 4226's truncation of a step's HMAC to six digits.
func totp(seed []byte, step int64) string {
	mac := hmac.New(sha1.New, seed)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step))) //nolint:gosec // a step since 1970 is not negative
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0x0f
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[offset:])&0x7fffffff%1_000_000)
}

// mfaDevice is a device with the steps whose codes were used.
type mfaDevice struct {
	userARN string
	seed    []byte
	used    map[int64]bool
}

// accepts returns whether a code is of the previous, present or next step, and was not used before.
func (d mfaDevice) accepts(code string, now time.Time) bool {
	present := stepOf(now)
	maps.DeleteFunc(d.used, func(step int64, _ bool) bool { return step < present-1 })
	for step := present - 1; step <= present+1; step++ {
		if !d.used[step] && totp(d.seed, step) == code {
			d.used[step] = true
			return true
		}
	}
	return false
}

var mfaBounds = []bound{
	{name: "SerialNumber", min: 9, max: 256, pattern: serialPattern},
	{name: "TokenCode", min: 6, max: 6, pattern: digitsPattern},
}

// verifyMFA returns whether a call has an MFA code. It rejects a code that is not valid for the user's device.
func (i *iam) verifyMFA(caller principal, form url.Values, now time.Time) (bool, error) {
	serial, code := form.Get("SerialNumber"), form.Get("TokenCode")
	switch {
	case serial == "" && code == "":
		return false, nil
	case serial == "" || code == "":
		return false, newError("AccessDenied", "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code.")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	device, ok := i.devices[serial]
	if !ok || device.userARN != caller.userARN {
		return false, newError("AccessDenied", "MultiFactorAuthentication failed, unable to validate MFA code.  "+
			"Please verify your MFA serial number is valid and associated with this user.")
	}
	if !device.accepts(code, now) {
		return false, newError("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code. ")
	}
	return true, nil
}

// putDevice adds a device to a user, or replaces the seed of the device of that name.
func (i *iam) putDevice(userARN string, d MFADevice) (serial string, err error) {
	if err := d.validate(); err != nil {
		return "", err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	u, ok := i.users[userARN]
	if !ok {
		return "", fmt.Errorf("no user %q", userARN)
	}
	serial = iamARN(i.accounts[u.Account], "mfa/"+d.Name)
	if old, taken := i.devices[serial]; taken && old.userARN != userARN {
		return "", fmt.Errorf("MFA device %q is another user's", serial)
	}
	i.addDevice(userARN, serial, d)
	return serial, nil
}

// addDevice requires a valid device.
func (i *iam) addDevice(userARN, serial string, d MFADevice) {
	seed, _ := decodeSeed(d.Seed)
	i.devices[serial] = mfaDevice{userARN: userARN, seed: seed, used: map[int64]bool{}}
}

// deleteDevice deletes a device.
func (i *iam) deleteDevice(serial string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.devices[serial]; !ok {
		return fmt.Errorf("no MFA device %q", serial)
	}
	delete(i.devices, serial)
	return nil
}
