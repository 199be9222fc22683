package stsemulator_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

func TestConfigurationsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ yaml, want string }{
		"a field that nobody knows":          {`{accounts: [{id: "123456789012", rolls: []}]}`, `unknown field "rolls"`},
		"an account's id too short":          {`{accounts: [{id: "1234"}]}`, `account "1234": id must be twelve digits`},
		"an account twice":                   {`{accounts: [{id: "123456789012"}, {id: "123456789012"}]}`, `account "123456789012" is there twice`},
		"a partition that AWS does not have": {`{accounts: [{id: "123456789012", partition: moon}]}`, `partition "moon" is none of AWS's`},
		"a user without a name":              {`{accounts: [{id: "123456789012", users: [{}]}]}`, `user "": name must be 1 to 64 of [\w+=,.@-]`},
		"a user twice":                       {`{accounts: [{id: "123456789012", users: [{name: a}, {name: a}]}]}`, `user "a" is there twice`},
		"a key without a secret":             {`{accounts: [{id: "123456789012", users: [{name: a, accessKeys: [{id: AKIAXXXXXXXXXXXXXXXX}]}]}]}`, `an access key needs an id`},
		"a key that two users have": {
			`{accounts: [{id: "123456789012", users: [{name: a, accessKeys: [{id: AKIAXXXXXXXXXXXXXXXX, secret: s}]}, {name: b, accessKeys: [{id: AKIAXXXXXXXXXXXXXXXX, secret: s}]}]}]}`,
			`access key "AKIAXXXXXXXXXXXXXXXX" is there twice`,
		},
		"a role without a name":                     {`{accounts: [{id: "123456789012", roles: [{name: ""}]}]}`, `role "": name must be 1 to 64`},
		"a role twice, if by another path":          {`{accounts: [{id: "123456789012", roles: [{name: a}, {name: b/a}]}]}`, `role "a" is there twice`},
		"a role's sessions too short":               {`{accounts: [{id: "123456789012", roles: [{name: a, maxSessionDuration: 3599}]}]}`, `maxSessionDuration must be 3600 to 43200 seconds`},
		"a role's sessions too long":                {`{accounts: [{id: "123456789012", roles: [{name: a, maxSessionDuration: 43201}]}]}`, `maxSessionDuration must be 3600 to 43200 seconds`},
		"a trust in nobody":                         {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{}]}]}]}`, `trust: principal "" is neither`},
		"a trust in a group":                        {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{principal: "arn:aws:iam::123456789012:group/g"}]}]}]}`, `is neither an account`},
		"a trust for an action of another service":  {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{principal: "*", actions: ["s3:GetObject"]}]}]}]}`, `trust: action "s3:GetObject"`},
		"text that is no YAML at all, but a number": {`42`, `cannot unmarshal number`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			file := filepath.Join(t.TempDir(), "config.yaml")
			g.Expect(os.WriteFile(file, []byte(tc.yaml), 0o600)).To(Succeed())
			_, err := stsemulator.LoadConfig(file)
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(err).To(MatchError(HavePrefix(file)))
		})
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	for name, opts := range map[string]stsemulator.Options{
		"more than what was asked": {LifetimeFraction: 1.01},
		"less than nothing":        {LifetimeFraction: -0.5},
		"a token too short":        {SessionTokenSize: 15},
		"a token too long":         {SessionTokenSize: 2049},
		"a region on the moon":     {Region: "moon"},
		"a flavour unknown":        {Flavour: "vanilla"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stsemulator.New(stsemulator.Config{}, opts)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
}

func TestSessionTokensAreOfTheSizeAskedFor(t *testing.T) {
	for _, size := range []int{16, 500, 2048} {
		e := serve(t, stsemulator.Options{SessionTokenSize: size})
		creds, _ := e.assume(t, operatorKey, input(readerARN))
		g := NewWithT(t)
		g.Expect(creds.SessionToken).To(HaveLen(size))
		_, err := e.client(creds).GetCallerIdentity(t.Context(), nil)
		g.Expect(err).NotTo(HaveOccurred())
	}
}
