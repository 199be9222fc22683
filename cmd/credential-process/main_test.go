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
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

// The test binary is also the program under test: it runs main under the program's names.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == "sh" || name == "cat" || os.Getenv("CREDENTIAL_PROCESS") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// installed runs install into a new folder, sets PATH to that folder only, and returns it.
func installed(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	command := exec.Command(self, "install", dir)
	command.Env = []string{"CREDENTIAL_PROCESS=1"}
	printed, err := command.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(printed))
	t.Setenv("PATH", dir)
	return dir
}

// The SDK for Go finds sh in PATH. The expiration is a century ahead, so the SDK does not refresh.
func TestSDKReadsCredentialProcessWithoutShell(t *testing.T) {
	g := NewWithT(t)
	mount := t.TempDir()
	data, err := render.Render(v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess}, MountPath: mount}, request.Credentials{
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

func TestProgramAcceptsCommandsOfSDKs(t *testing.T) {
	bin := installed(t)
	file := filepath.Join(t.TempDir(), "credential_process.json")
	NewWithT(t).Expect(os.WriteFile(file, []byte("{}\n"), 0o600)).To(Succeed())
	for name, tc := range map[string]struct {
		program string
		args    []string
	}{
		"most SDKs":                        {"sh", []string{"-c", "cat " + file}},
		"Python, without a shell":          {"cat", []string{file}},
		"C++, with popen":                  {"sh", []string{"-c", "cat " + file + " 2>&1"}},
		"C++, with popen of a later glibc": {"sh", []string{"-c", "--", "cat " + file + " 2>&1"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			printed, err := exec.Command(filepath.Join(bin, tc.program), tc.args...).CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), string(printed))
			g.Expect(string(printed)).To(Equal("{}\n"))
		})
	}
}

func TestProgramRejectsOtherCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	NewWithT(t).Expect(os.WriteFile(file, []byte("content"), 0o600)).To(Succeed())
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"another command":             {[]string{"sh", "-c", "id"}, "not a shell"},
		"an interactive shell":        {[]string{"/bin/sh"}, "not a shell"},
		"a script":                    {[]string{"/bin/sh", file}, "not a shell"},
		"a second command":            {[]string{"sh", "-c", "cat " + file + ";id"}, "not a shell"},
		"a second command after &&":   {[]string{"sh", "-c", "cat " + file + " && id"}, "not a shell"},
		"another command's output":    {[]string{"sh", "-c", "cat $(id)"}, "not a shell"},
		"a redirect to a file":        {[]string{"sh", "-c", "cat " + file + " > /tmp/x"}, "not a shell"},
		"several files":               {[]string{"cat", file, file}, "exactly one file"},
		"no file":                     {[]string{"cat"}, "exactly one file"},
		"a missing file":              {[]string{"cat", file + "2"}, "no such file"},
		"a folder":                    {[]string{"cat", filepath.Dir(file)}, "is a directory"},
		"no arguments":                {[]string{"/credential-process"}, "usage: credential-process install DIR"},
		"install to a missing folder": {[]string{"/credential-process", "install", file + "2"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var out bytes.Buffer
			g.Expect(run(tc.args, &out)).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(out.String()).To(BeEmpty())
		})
	}
}
