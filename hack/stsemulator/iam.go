package stsemulator

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// principal is the caller: a user or a session.
type principal struct {
	ARN     string
	UserID  string
	Account string
	// userARN is the user, for a user and its own sessions. The user's MFA devices apply.
	userARN                string
	mayAssume, mayFederate []string
	// session is nil for a user.
	session *Session
}

// partition returns the caller's partition. A caller is unknown in other partitions.
func (p principal) partition() string {
	parsed, _ := arn.Parse(p.ARN) // the emulator created it
	return parsed.Partition
}

func (p principal) isRole() bool { return p.session != nil && p.session.RoleARN != "" }

// hasMFA returns whether the caller's session was issued with an MFA code. AWS does not keep that for sessions of roles.
func (p principal) hasMFA() bool { return p.session != nil && p.userARN != "" && p.session.MFA }

// iam contains the accounts, users, keys, devices and roles, which can change at run time.
type iam struct {
	mu       sync.RWMutex
	accounts map[string]Account   // by ID; users has the present users
	users    map[string]user      // by ARN
	keys     map[string]userKey   // by access key ID
	devices  map[string]mfaDevice // by serial number
	roleIDs  map[string]string    // by role ARN, created on first use
}

type user struct {
	principal
	name string
}

type userKey struct {
	AccessKey
	userARN string
}

// newIAM requires a valid configuration.
func newIAM(cfg Config) *iam {
	i := &iam{
		accounts: map[string]Account{},
		users:    map[string]user{},
		keys:     map[string]userKey{},
		devices:  map[string]mfaDevice{},
		roleIDs:  map[string]string{},
	}
	for _, a := range cfg.Accounts {
		a.Roles = slices.Clone(a.Roles)
		i.accounts[a.ID] = a
		for _, u := range a.Users {
			userARN := iamARN(a, "user/"+u.Name)
			i.users[userARN] = user{
				principal: principal{
					ARN: userARN, UserID: newUniqueID("AIDA"), Account: a.ID,
					userARN: userARN, mayAssume: u.MayAssume, mayFederate: u.MayFederate,
				},
				name: u.Name,
			}
			for _, d := range u.MFADevices {
				i.addDevice(userARN, iamARN(a, "mfa/"+d.Name), d)
			}
			for _, k := range u.AccessKeys {
				i.addKey(userARN, k)
			}
		}
	}
	return i
}

func iamARN(a Account, resource string) string {
	return arn.ARN{Partition: a.partition(), Service: "iam", AccountID: a.ID, Resource: resource}.String()
}

// foundRole is a role with the ARN of the request.
type foundRole struct {
	Role
	arn     string
	id      string
	account Account
}

// sessionARN returns the ARN of a session of the role. It contains the role's name without its path.
func (r foundRole) sessionARN(sessionName string) string {
	return arn.ARN{
		Partition: r.account.partition(), Service: "sts", AccountID: r.account.ID,
		Resource: "assumed-role/" + path.Base(r.arn) + "/" + sessionName,
	}.String()
}

// holder returns the principal of a session of the role.
func (r foundRole) holder(sessionName string) principal {
	return principal{ARN: r.sessionARN(sessionName), UserID: r.id + ":" + sessionName, Account: r.account.ID, mayAssume: r.MayAssume}
}

// account returns an empty account for an unknown ID.
func (i *iam) account(id string) Account {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.accounts[id]
}

// role returns a role with an entry of its own, or else of the first pattern that matches.
func (i *iam) role(roleARN string) (foundRole, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	a, at, ok := i.locate(roleARN)
	if !ok {
		return foundRole{}, false
	}
	if i.roleIDs[roleARN] == "" {
		i.roleIDs[roleARN] = newUniqueID("AROA")
	}
	return foundRole{Role: a.Roles[at], arn: roleARN, id: i.roleIDs[roleARN], account: a}, true
}

// hasARN returns whether a role has an ARN of its own, which need not have AWS's form.
func (i *iam) hasARN(roleARN string) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	_, _, ok := i.locateByARN(roleARN)
	return ok
}

func (i *iam) locateByARN(roleARN string) (Account, int, bool) {
	for _, a := range i.accounts {
		if at := slices.IndexFunc(a.Roles, func(r Role) bool { return r.ARN != "" && r.ARN == roleARN }); at >= 0 {
			return a, at, true
		}
	}
	return Account{}, 0, false
}

func (i *iam) locate(roleARN string) (Account, int, bool) {
	if a, at, ok := i.locateByARN(roleARN); ok {
		return a, at, true
	}
	parsed, err := arn.Parse(roleARN)
	if err != nil {
		return Account{}, 0, false
	}
	name, isRole := strings.CutPrefix(parsed.Resource, "role/")
	a, ok := i.accounts[parsed.AccountID]
	if !ok || !isRole || iamARN(a, parsed.Resource) != roleARN {
		return Account{}, 0, false
	}
	at := slices.IndexFunc(a.Roles, func(r Role) bool { return r.Name == name })
	if at < 0 {
		at = slices.IndexFunc(a.Roles, func(r Role) bool { return glob(r.Name, name) })
	}
	return a, at, at >= 0
}

// allows returns whether a principal's own policy allows it to assume a role.
func (p principal) allows(roleARN string) bool {
	return slices.ContainsFunc(p.mayAssume, func(pattern string) bool { return glob(pattern, roleARN) })
}

// glob returns whether the pattern matches all of s. '*' matches any characters.
func glob(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for i := range len(s) + 1 {
		if glob(rest, s[i:]) {
			return true
		}
	}
	return false
}

// putRole adds a role to an account, or replaces the role of that name.
func (i *iam) putRole(accountID string, r Role) error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("role %q: %w", r.Name, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	a, ok := i.accounts[accountID]
	if !ok {
		return fmt.Errorf("no account %q", accountID)
	}
	a.Roles = slices.DeleteFunc(slices.Clone(a.Roles), func(old Role) bool { return old.Name == r.Name })
	a.Roles = append(a.Roles, r)
	i.accounts[accountID] = a
	return nil
}

// setTrust sets a trust policy. A role that matches only a pattern gets an entry of its own.
func (i *iam) setTrust(roleARN string, trust []Trust) error {
	role, ok := i.role(roleARN)
	if !ok {
		return fmt.Errorf("no role %q", roleARN)
	}
	_, role.Name, _ = strings.Cut(roleARN, ":role/")
	role.Trust = trust
	return i.putRole(role.account.ID, role.Role)
}
