package stsemulator

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// newAccessKeyID has AWS's length, 20, for the prefixes AKIA and ASIA.
func newAccessKeyID(prefix string) string { return prefix + rand.Text()[:20-len(prefix)] }

// newUniqueID has AWS's length, 21, for the prefixes AIDA and AROA.
func newUniqueID(prefix string) string { return prefix + rand.Text()[:21-len(prefix)] }

// newSecret is 40 characters of base64, as AWS's are.
func newSecret() string { return randomBase64(40) }

// newSessionToken begins as AWS's do and is size characters long.
func newSessionToken(size int) string {
	const prefix = "IQoJb3JpZ2luX2Vj"
	return (prefix + randomBase64(size))[:size]
}

func randomBase64(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails, by its documentation
	return base64.StdEncoding.EncodeToString(b)[:n]
}

// newRequestID is a random UUID.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
