package stsemulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// addKey adds a key, and generates its ID and secret if they are empty.
func (i *iam) addKey(userARN string, k AccessKey) AccessKey {
	if k.ID == "" {
		k.ID, k.Secret = newAccessKeyID("AKIA"), newSecret()
	}
	i.keys[k.ID] = userKey{AccessKey: k, userARN: userARN}
	return k
}

// userOf returns an active key and its user.
func (i *iam) userOf(accessKeyID string) (AccessKey, principal, bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	k, ok := i.keys[accessKeyID]
	if !ok || k.Inactive {
		return AccessKey{}, principal{}, false
	}
	return k.AccessKey, i.users[k.userARN].principal, true
}

// createKey adds a key to a user. With replace it deletes the user's other keys.
func (i *iam) createKey(userARN string, replace bool) (AccessKey, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.users[userARN]; !ok {
		return AccessKey{}, fmt.Errorf("no user %q", userARN)
	}
	if replace {
		maps.DeleteFunc(i.keys, func(_ string, k userKey) bool { return k.userARN == userARN })
	}
	return i.addKey(userARN, AccessKey{}), nil
}

// changeKey changes a key, or deletes it if change is nil.
func (i *iam) changeKey(id string, change func(*userKey)) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	k, ok := i.keys[id]
	if !ok {
		return fmt.Errorf("no access key %q", id)
	}
	if change == nil {
		delete(i.keys, id)
		return nil
	}
	change(&k)
	i.keys[id] = k
	return nil
}

// keysOf returns a user's keys in the order of their IDs.
func (i *iam) keysOf(userARN string) []AccessKey {
	i.mu.RLock()
	defer i.mu.RUnlock()
	var keys []AccessKey
	for _, k := range i.keys {
		if k.userARN == userARN {
			keys = append(keys, k.AccessKey)
		}
	}
	slices.SortFunc(keys, func(a, b AccessKey) int { return strings.Compare(a.ID, b.ID) })
	return keys
}
