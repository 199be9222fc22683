// Command dashboard generates the Grafana dashboard, config/grafana/rolecredential.json, and the table in docs/metrics.md. The table comes
// from the list of the operator's metrics.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/hack/program"
)

func main() {
	program.Main("dashboard", func(context.Context, []string) error {
		return errors.Join(writeDashboard(filepath.Join("config", "grafana", "rolecredential.json")), writeTable(filepath.Join("docs", "metrics.md")))
	})
}

func writeDashboard(path string) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(dashboard(rows)); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// The marks around the generated part of a page.
const (
	begin = "<!-- Made by `make manifests` from controllers/telemetry/catalogue.go. -->\n"
	end   = "<!-- End. -->\n"
)

// writeTable writes the table between the marks in a page.
func writeTable(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(page), begin)
	_, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		return fmt.Errorf("%s lacks the marks of the table", path)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+table(telemetry.Catalogue)+"\n"+end+after), 0o644)
}

func table(metrics []telemetry.Metric) string {
	var text strings.Builder
	text.WriteString("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n")
	for _, metric := range metrics {
		var labels []string
		for _, label := range metric.Labels {
			labels = append(labels, "`"+label+"`")
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", metric.Name, metric.Type, strings.Join(labels, ", "), metric.Help)
	}
	return text.String()
}
