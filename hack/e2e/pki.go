package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// authority signs the certificates of a cluster, and stores them in a folder.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	own, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "e2e"}, key)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, cert: own, key: key}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := a.write("ca", own.Raw, key); err != nil {
		return nil, err
	}
	return a, nil
}

// file returns the path of a file of the authority, such as ca.crt.
func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name string, certificate []byte, key *ecdsa.PrivateKey) error {
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	if err := keyutil.WriteKey(a.file(name+".key"), keyPEM); err != nil {
		return err
	}
	return cert.WriteCert(a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: certificate}))
}

// certify creates a certificate for a user of a group, and for a server at the addresses.
func (a *authority) certify(name, user, group string, addresses ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: user},
		NotBefore:    a.cert.NotBefore,
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if group != "" {
		template.Subject.Organization = []string{group}
	}
	for _, address := range addresses {
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, address)
		}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	return a.write(name, signed, key)
}

// kubeconfig writes a kubeconfig with the certificate of that name, and returns its path.
func (a *authority) kubeconfig(name, server string) (string, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: a.file("ca.crt")}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificate: a.file(name + ".crt"), ClientKey: a.file(name + ".key")}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	path := a.file(name + ".kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}
