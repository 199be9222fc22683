package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/output"
)

// The test's own program is the program under test when it is called as that is.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == "sh" || name == "cat" || os.Getenv("CREDENTIAL_PROCESS") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// installed returns a folder with what install puts there, and nothing else, as the whole PATH.
func installed(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	command := exec.Command(self, "install", dir)
	command.Env = []string{"CREDENTIAL_PROCESS=1"}
	said, err := command.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(said))
	t.Setenv("PATH", dir)
	return dir
}

// The SDK for Go finds sh in the PATH and has it run cat. The credential is one that does not expire within the test.
func TestTheSDKReadsCredentialProcessWithoutAShell(t *testing.T) {
	g := NewWithT(t)
	mount := t.TempDir()
	data, err := output.Render(v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess}, MountPath: mount}, credential.Credential{
		AccessKeyID: "ASIAWITHOUTASHELL", SecretAccessKey: "secret", SessionToken: "token", Expiration: time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC),
	}, "eu-west-1")
	g.Expect(err).NotTo(HaveOccurred())
	for key, value := range data {
		g.Expect(os.WriteFile(filepath.Join(mount, key), value, 0o600)).To(Succeed())
	}
	for _, variable := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv(variable, "")
	}
	t.Setenv("HOME", mount)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(mount, "config"))
	installed(t)
	loaded, err := config.LoadDefaultConfig(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	got, err := loaded.Credentials.Retrieve(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]string{got.AccessKeyID, got.SecretAccessKey, got.SessionToken}).To(Equal([]string{"ASIAWITHOUTASHELL", "secret", "token"}))
}

func TestTheCommandsThatSDKsRun(t *testing.T) {
	bin := installed(t)
	file := filepath.Join(t.TempDir(), "credential_process.json")
	NewWithT(t).Expect(os.WriteFile(file, []byte("{}\n"), 0o600)).To(Succeed())
	for name, tc := range map[string]struct {
		program string
		args    []string
	}{
		"for most":                           {"sh", []string{"-c", "cat " + file}},
		"for Python, without a shell":        {"cat", []string{file}},
		"for C++, by popen":                  {"sh", []string{"-c", "cat " + file + " 2>&1"}},
		"for C++, by popen of a later glibc": {"sh", []string{"-c", "--", "cat " + file + " 2>&1"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			said, err := exec.Command(filepath.Join(bin, tc.program), tc.args...).CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), string(said))
			g.Expect(string(said)).To(Equal("{}\n"))
		})
	}
}

func TestWhatItDoesNotDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	NewWithT(t).Expect(os.WriteFile(file, []byte("content"), 0o600)).To(Succeed())
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"a shell that is asked for anything else": {[]string{"sh", "-c", "id"}, "not a shell"},
		"a shell to type into":                    {[]string{"/bin/sh"}, "not a shell"},
		"a script":                                {[]string{"/bin/sh", file}, "not a shell"},
		"a second command":                        {[]string{"sh", "-c", "cat " + file + ";id"}, "not a shell"},
		"a second command in another word":        {[]string{"sh", "-c", "cat " + file + " && id"}, "not a shell"},
		"another command's output":                {[]string{"sh", "-c", "cat $(id)"}, "not a shell"},
		"a file elsewhere":                        {[]string{"sh", "-c", "cat " + file + " > /tmp/x"}, "not a shell"},
		"several files":                           {[]string{"cat", file, file}, "just one file"},
		"no file":                                 {[]string{"cat"}, "just one file"},
		"a file that there is not":                {[]string{"cat", file + "2"}, "no such file"},
		"a folder":                                {[]string{"cat", filepath.Dir(file)}, "is a directory"},
		"nothing":                                 {[]string{"/credential-process"}, "usage: credential-process install DIR"},
		"an installation into nowhere":            {[]string{"/credential-process", "install", file + "2"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var out bytes.Buffer
			g.Expect(run(tc.args, &out)).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(out.String()).To(BeEmpty())
		})
	}
}
