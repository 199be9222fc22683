// Package s3server configures SeaweedFS, an STS and S3 that are not AWS's, for the tests and `make e2e`.
package s3server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Account is the account in the ARNs of all users and sessions. SeaweedFS has no other.
const Account = "000000000000"

// TrustUser returns a trust policy that allows AssumeRole to a user.
func TrustUser(name string) string {
	return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::` + Account + `:user/` + name + `"}, "Action": ["sts:AssumeRole"]}]}`
}

// parts are the parts of a SeaweedFS, as its flags name them.
var parts = [4]string{"s3", "master", "volume", "filer"}

// Server is a SeaweedFS. It serves an STS and S3 on one address.
type Server struct {
	// Dir is the folder of its data and configuration.
	Dir string
	// IP is the address that it listens on.
	IP string
	// Ports are unused ports: of HTTP and of gRPC of each part. The first is the port of the STS and S3.
	Ports [2 * len(parts)]int
	Users []User
	Roles []Role
	// MaxSession is the longest session of AssumeRole and AssumeRoleWithWebIdentity. SeaweedFS shortens longer ones.
	MaxSession time.Duration
	// Issuer is the issuer of tokens for AssumeRoleWithWebIdentity; nil for none.
	Issuer *Issuer
}

// User is an IAM user with an access key.
type User struct {
	Name, AccessKeyID, SecretAccessKey string
	// Policy is its identity policy.
	Policy string
}

// Role is an IAM role. Its policies are JSON.
type Role struct {
	Name, Trust, Policy string
	// MaxSession is between 1 and 12 hours, or 0 for the server's.
	MaxSession time.Duration
}

// Issuer is an OpenID Connect provider. A trust policy names it as the federated principal by its name.
type Issuer struct {
	Name, URL, Audience string
	// CA is the file of the certificate that signs the issuer's.
	CA string
}

// URL is the address of the STS and S3.
func (s *Server) URL() string { return "http://" + net.JoinHostPort(s.IP, strconv.Itoa(s.Ports[0])) }

// Command writes the configuration, and returns the arguments of SeaweedFS's program, weed.
func (s *Server) Command() ([]string, error) {
	data := filepath.Join(s.Dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	users, iam := filepath.Join(s.Dir, "users.json"), filepath.Join(s.Dir, "iam.json")
	if err := writeJSON(users, s.users()); err != nil {
		return nil, err
	}
	if err := writeJSON(iam, s.iam()); err != nil {
		return nil, err
	}
	args := []string{
		"-logtostderr=true", "server", "-ip=" + s.IP, "-ip.bind=" + s.IP, "-dir=" + data,
		"-master.peers=none", "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=100", "-volume.preStopSeconds=0",
		"-s3", "-s3.config=" + users, "-s3.iam.config=" + iam, "-s3.port.iceberg=0", "-s3.port.lance=0",
		"-filer.localSocket=" + filepath.Join(s.Dir, "filer.sock"), "-s3.localSocket=" + filepath.Join(s.Dir, "s3.sock"),
	}
	for i, part := range parts {
		args = append(args, fmt.Sprintf("-%s.port=%d", part, s.Ports[2*i]), fmt.Sprintf("-%s.port.grpc=%d", part, s.Ports[2*i+1]))
	}
	return args, nil
}

// RemoveSockets removes the files outside of Dir, which SeaweedFS leaves if it is killed.
func (s *Server) RemoveSockets() error {
	var errs []error
	for i, part := range parts {
		if err := os.Remove(fmt.Sprintf("/tmp/seaweedfs-%s-grpc-%d.sock", part, s.Ports[2*i+1])); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
