package observer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// session is what the emulator's admin endpoint returns for a set of keys.
type session struct {
	Action      string    `json:"action"`
	AccessKeyID string    `json:"accessKeyID"`
	ARN         string    `json:"arn"`
	RoleARN     string    `json:"roleARN"`
	Issued      time.Time `json:"issued"`
	Expiration  time.Time `json:"expiration"`
}

// inspect looks up the session of a Secret, and checks that it is the credential's. If not, it returns the defect.
func (o *Observer) inspect(ctx context.Context, c *credential, secret *corev1.Secret) (*session, string) {
	found, err := o.lookUp(ctx, secret.Data)
	if ctx.Err() != nil {
		return nil, "the observer stops"
	}
	if err == nil {
		err = o.validate(c, found)
	}
	o.Results.CheckTrue(SecretConsistent, err == nil, func() string { return fmt.Sprintf("Secret of %s: %s", c.Key(), err) })
	if err != nil {
		return nil, err.Error()
	}
	return found, ""
}

// validate returns an error if a session is not the one that the credential requests, or was seen in another credential's Secret.
func (o *Observer) validate(c *credential, s *session) error {
	if s.Action != c.Action || s.RoleARN != c.RoleARN || s.ARN != c.PrincipalARN {
		return fmt.Errorf("it contains a session of %s by %s, for %q", s.ARN, s.Action, s.RoleARN)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	first, taken := o.owners[s.AccessKeyID]
	if taken && first != c.Key() {
		return fmt.Errorf("it contains the session %s, which was given to %s", s.AccessKeyID, first)
	}
	o.owners[s.AccessKeyID] = c.Key()
	return nil
}

// lookUp gets the session of the three keys from the emulator.
func (o *Observer) lookUp(ctx context.Context, data map[string][]byte) (*session, error) {
	body, err := json.Marshal(map[string]string{
		"accessKeyID": string(data[keyID]), "secretAccessKey": string(data[secretKey]), "sessionToken": string(data[token]),
	})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.SessionURL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its keys are not of one session: the emulator returned %s for %s", response.Status, data[keyID])
	}
	found := &session{}
	return found, json.NewDecoder(response.Body).Decode(found)
}
