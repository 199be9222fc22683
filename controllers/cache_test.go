package controllers

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/meta/testrestmapper"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"

	"rolecredential.dev/operator/api/v1alpha1"
)

// The API server terminates a watch that shares a connection with many writes.
func TestWatchesShareNoConnectionWithWrites(t *testing.T) {
	g := NewWithT(t)
	type request struct{ proto, path, from string }
	requests := make(chan request, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- request{r.Proto, r.URL.Path, r.RemoteAddr}
		http.Error(w, "", http.StatusNotFound)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}}
	options, err := ManagerOptions(Options{})
	g.Expect(err).NotTo(HaveOccurred())
	started, err := cluster.New(config, func(o *cluster.Options) {
		o.Scheme, o.Cache, o.Client, o.NewCache = options.Scheme, options.Cache, options.Client, options.NewCache
		o.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
			return testrestmapper.TestOnlyStaticRESTMapper(options.Scheme), nil
		}
	})
	g.Expect(err).NotTo(HaveOccurred())
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)

	written := &v1alpha1.RoleCredential{}
	written.Namespace, written.Name = "shop", "written"
	uncached := client.DisableReadYourWritesConsistency // does not wait for the cache
	g.Expect(started.GetClient().Create(ctx, written, uncached)).NotTo(Succeed())
	write := <-requests
	_, err = started.GetCache().GetInformer(ctx, written, cache.BlockUntilSynced(false))
	g.Expect(err).NotTo(HaveOccurred())
	go func() { _ = started.GetCache().Start(ctx) }()
	watch := <-requests

	g.Expect([]string{write.proto, watch.proto}).To(HaveEach("HTTP/2.0"))
	g.Expect(write.path).To(HaveSuffix("/namespaces/shop/rolecredentials"))
	g.Expect(watch.path).To(HaveSuffix("/v1alpha1/rolecredentials"))
	g.Expect(watch.from).NotTo(Equal(write.from))
}
