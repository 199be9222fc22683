package cli

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
)

// writeCode writes the policies of an explanation as code, after their steps as comments.
func (p *plugin) writeCode(format string, report explanation) error {
	grants := report.Grants()
	if len(grants) == 0 {
		return fmt.Errorf("%s needs no policy in AWS: run the command without --output", report.Subject)
	}
	code := iam.Terraform(grants)
	if format == formatCloudFormation {
		var err error
		if code, err = iam.CloudFormation(grants); err != nil {
			return err
		}
	}
	comments := strings.Builder{}
	for _, step := range report.AWS {
		if step.Grant != nil {
			comments.WriteString("# " + shell.Printable(step.Do) + "\n")
		}
	}
	_, err := io.WriteString(p.Out, comments.String()+code)
	return err
}

// commonName returns the common name in the subject of the first certificate of a PEM file, and nothing without a file.
func commonName(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	rest, err := os.ReadFile(file) //nolint:gosec // the user names the file
	if err != nil {
		return "", err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return "", fmt.Errorf("%s contains no certificate in PEM, which starts with -----BEGIN CERTIFICATE-----", file)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if certificate.Subject.CommonName == "" {
			return "", errors.New("the subject of the certificate has no common name: run the command without --certificate, and add a condition on another attribute")
		}
		return certificate.Subject.CommonName, nil
	}
}
