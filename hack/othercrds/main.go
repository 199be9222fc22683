// Command othercrds writes CustomResourceDefinitions of other projects to docs/testdata/crds, so that a test can validate the
// documentation's examples of them. They come from the projects' Go modules. It removes the descriptions, and the alternatives that no
// example uses, such as other providers of secret stores.
//
//	go run ./hack/othercrds
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/hack/program"
)

// definition is a CRD in a Go module.
type definition struct{ module, path string }

const (
	barman      = "github.com/cloudnative-pg/plugin-barman-cloud@v0.15.0"
	certManager = "github.com/cert-manager/cert-manager@v1.20.3"
	eso         = "github.com/external-secrets/external-secrets@v1.3.2"
	flux        = "github.com/fluxcd/kustomize-controller@v1.9.6"
	keda        = "github.com/kedacore/keda/v2@v2.21.0"
	kro         = "github.com/kubernetes-sigs/kro@v0.9.4"
	prometheus  = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
	velero      = "github.com/vmware-tanzu/velero@v1.18.3"
)

var definitions = []definition{
	{barman, "config/crd/bases/barmancloud.cnpg.io_objectstores.yaml"},
	{certManager, "deploy/crds/cert-manager.io_certificates.yaml"},
	{certManager, "deploy/crds/cert-manager.io_clusterissuers.yaml"},
	{eso, "config/crds/bases/external-secrets.io_externalsecrets.yaml"},
	{eso, "config/crds/bases/external-secrets.io_secretstores.yaml"},
	{eso, "config/crds/bases/generators.external-secrets.io_stssessiontokens.yaml"},
	{flux, "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"},
	{keda, "config/crd/bases/keda.sh_triggerauthentications.yaml"},
	{kro, "helm/crds/kro.run_resourcegraphdefinitions.yaml"},
	{kro, "test/integration/crds/ack-iam-controller/iam.services.k8s.aws_roles.yaml"}, // of ACK
	{prometheus, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"},
	{velero, "config/crd/v1/bases/velero.io_backupstoragelocations.yaml"},
}

// alternatives are the fields of which most properties are unused. A property tells the field from another one with its name.
var alternatives = []struct {
	field, property string
	used            []string
}{
	{"provider", "akeyless", []string{"aws", "kubernetes", "vault"}}, // of a SecretStore
	{"dns01", "route53", []string{"route53"}},                        // of a ClusterIssuer, and so is http01
	{"http01", "ingress", nil},
}

func main() {
	program.Main("othercrds", func(context.Context, []string) error {
		for _, d := range definitions {
			if err := d.write(filepath.Join("docs", "testdata", "crds")); err != nil {
				return fmt.Errorf("%s of %s: %w", d.path, d.module, err)
			}
		}
		return nil
	})
}

func (d definition) write(folder string) error {
	download := exec.Command("go", "mod", "download", "-json", d.module)
	download.Stderr = os.Stderr
	answer, err := download.Output()
	if err != nil {
		return err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(answer, &module); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, filepath.FromSlash(d.path)))
	if err != nil {
		return err
	}
	var content map[string]any
	if err := yaml.Unmarshal(text, &content); err != nil {
		return err
	}
	thin(content)
	if spec, ok := content["spec"].(map[string]any); ok {
		versions, _ := spec["versions"].([]any)
		spec["versions"] = slices.DeleteFunc(versions, func(v any) bool {
			served, _ := v.(map[string]any)["served"].(bool)
			return !served
		})
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Of %s, %s, without descriptions: go run ./hack/othercrds writes it. Apache License 2.0.\n", d.module, d.path)
	thinned, err := yaml.Marshal(content)
	if err != nil {
		return err
	}
	out.Write(thinned)
	return os.WriteFile(filepath.Join(folder, filepath.Base(d.path)), out.Bytes(), 0o644)
}

// thin removes descriptions and unused alternatives.
func thin(node any) {
	switch node := node.(type) {
	case map[string]any:
		if text, ok := node["description"].(string); ok && text != "" {
			delete(node, "description")
		}
		for _, a := range alternatives {
			field, _ := node[a.field].(map[string]any)
			if properties, ok := field["properties"].(map[string]any); ok && properties[a.property] != nil {
				maps.DeleteFunc(properties, func(name string, _ any) bool { return !slices.Contains(a.used, name) })
			}
		}
		for _, child := range node {
			thin(child)
		}
	case []any:
		for _, child := range node {
			thin(child)
		}
	}
}
