// Command dashboard writes what is made from the list of the operator's metrics: a Grafana dashboard, config/grafana/rolecredential.json,
// and the tables in docs/metrics.md.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"rolecredential.dev/operator/controllers/telemetry"
)

func main() {
	if err := errors.Join(writeDashboard(filepath.Join("config", "grafana", "rolecredential.json")), writeTable(filepath.Join("docs", "metrics.md"))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
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

// Marks of what is generated in a page.
const (
	begin = "<!-- Made by `make manifests` from controllers/telemetry/catalogue.go. -->\n"
	end   = "<!-- End. -->\n"
)

// writeTable puts the table into a page that has a place for it.
func writeTable(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(page), begin)
	_, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		return fmt.Errorf("%s has no place for the table", path)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+table(telemetry.Catalogue)+"\n"+end+after), 0o644)
}

func table(metrics []telemetry.Metric) string {
	var text strings.Builder
	text.WriteString("| Metric | Type | Labels | Meaning | Series |\n|---|---|---|---|---|\n")
	for _, metric := range metrics {
		var labels []string
		for _, label := range metric.Labels {
			labels = append(labels, "`"+label+"`")
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s | %s |\n", metric.Name, metric.Type, strings.Join(labels, ", "), metric.Help, metric.Series)
	}
	return text.String()
}
