package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"
)

func TestTheCommandServesUntilItIsStopped(t *testing.T) {
	g := NewWithT(t)
	ctx, stop := context.WithCancel(t.Context())
	urlFile := filepath.Join(t.TempDir(), "url")
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--address", "127.0.0.1:0", "--url-file", urlFile, "--lifetime-fraction", "0.01"}, in)
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	url, err := os.ReadFile(urlFile)
	g.Expect(err).NotTo(HaveOccurred())
	endpoint := strings.TrimSpace(string(url))
	g.Expect(line).To(Equal("STS (aws) on " + endpoint + ", admin on " + endpoint + "/_admin/\n"))

	client := sts.New(sts.Options{
		BaseEndpoint: &endpoint, Region: "eu-west-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, nil
		}),
	})
	me, err := client.GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*me.Arn).To(Equal("arn:aws:iam::210987654321:user/operator"))

	stop()
	g.Expect(<-ended).To(Succeed())
}

func TestArgumentsThatAreRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"a flag unknown":                     {"--loud"},
		"something left over":                {"now"},
		"a file that is not there":           {"--config", filepath.Join(t.TempDir(), "none.yaml")},
		"a fraction of more than everything": {"--lifetime-fraction", "2"},
		"an address of nowhere":              {"--address", "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(run(t.Context(), args, io.Discard)).NotTo(Succeed())
		})
	}
}
