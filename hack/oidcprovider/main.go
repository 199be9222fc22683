// oidcprovider is an OpenID Connect provider with one OAuth 2.0 client, for the tests. It is a module of its own, so that the
// operator does not depend on the provider's packages.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	address := flag.String("address", "127.0.0.1:9998", "address to listen on; the issuer is https://ADDRESS")
	certificate := flag.String("certificate", "", "file with the server's certificate in PEM")
	key := flag.String("key", "", "file with the certificate's private key in PEM")
	clientID := flag.String("client-id", "operator", "ID of the client, whose secret is in the environment variable CLIENT_SECRET")
	audience := flag.String("audience", "sts.amazonaws.com", "audience of the client's tokens")
	opaque := flag.Bool("opaque", false, "issue access tokens that are no JSON Web Tokens")
	flag.Parse()

	config := &op.Config{}
	if _, err := rand.Read(config.CryptoKey[:]); err != nil {
		return err
	}
	issuer := "https://" + *address
	store := &store{
		Storage: storage.NewStorage(storage.NewUserStore(issuer)),
		id:      *clientID, secret: os.Getenv("CLIENT_SECRET"), audience: *audience, kind: op.AccessTokenTypeJWT,
	}
	if *opaque {
		store.kind = op.AccessTokenTypeBearer
	}
	provider, err := op.NewProvider(config, store, op.StaticIssuer(issuer))
	if err != nil {
		return err
	}
	server := &http.Server{Addr: *address, Handler: provider, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServeTLS(*certificate, *key)
}

// store is the in-memory storage of the module's example, with another client for the grant client_credentials.
type store struct {
	*storage.Storage
	id, secret, audience string
	kind                 op.AccessTokenType
}

var errWrongClient = errors.New("there is no client with this ID and secret")

// ClientCredentials implements op.ClientCredentialsStorage. It returns the example's only client with this grant, changed.
func (s *store) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if id != s.id || secret != s.secret || secret == "" {
		return nil, errWrongClient
	}
	base, err := s.Storage.ClientCredentials(ctx, "sid1", "verysecret")
	return client{base, s}, err
}

// ClientCredentialsTokenRequest implements op.ClientCredentialsStorage.
func (s *store) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Audience: []string{s.audience}, Scopes: scopes}, nil
}

type client struct {
	op.Client
	of *store
}

// GetID implements op.Client.
func (c client) GetID() string { return c.of.id }

// AccessTokenType implements op.Client.
func (c client) AccessTokenType() op.AccessTokenType { return c.of.kind }
