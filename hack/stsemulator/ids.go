package stsemulator

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// newAccessKeyID returns an ID with AWS's length, 20, and the prefix AKIA or ASIA.
func newAccessKeyID(prefix string) string { return prefix + rand.Text()[:20-len(prefix)] }

// newUniqueID returns an ID with AWS's length, 21, and the prefix AIDA or AROA.
func newUniqueID(prefix string) string { return prefix + rand.Text()[:21-len(prefix)] }

// newSecret returns 40 characters of base64, like AWS.
func newSecret() string { return randomBase64(40) }

// newSessionToken returns a token of size characters with AWS's prefix.
func newSessionToken(size int) string {
	const prefix = "IQoJb3JpZ2luX2Vj"
	return (prefix + randomBase64(size))[:size]
}

func randomBase64(n int) string {
	b := make([]byte, n)
	rand.Read(b) // it never returns an error
	return base64.StdEncoding.EncodeToString(b)[:n]
}

// newRequestID returns a random UUID.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return uuid(b)
}

// uuid returns bytes in the form of a random UUID.
func uuid(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
