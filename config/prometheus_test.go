package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/controllers/telemetry"
)

// alert is a rule of the PrometheusRule.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// alerts returns the shipped rules, and a rules file with them.
func alerts(t *testing.T) (all []alert, file string) {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join("prometheus", "rules.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	rule := struct{ Spec any }{}
	g.Expect(yaml.Unmarshal(text, &rule)).To(Succeed())
	spec, err := yaml.Marshal(rule.Spec)
	g.Expect(err).NotTo(HaveOccurred())
	file = filepath.Join(t.TempDir(), "rules.yaml")
	g.Expect(os.WriteFile(file, spec, 0o644)).To(Succeed())
	var groups struct{ Groups []struct{ Rules []alert } }
	g.Expect(yaml.Unmarshal(spec, &groups)).To(Succeed())
	for _, group := range groups.Groups {
		all = append(all, group.Rules...)
	}
	g.Expect(len(all)).To(BeNumerically(">=", 7))
	return all, file
}

func promtool(t *testing.T, args ...string) string {
	t.Helper()
	return string(output(t, "PROMETHEUS", "promtool", args...))
}

func TestEachAlertFiresOnlyOnItsFault(t *testing.T) {
	g := NewWithT(t)
	all, rules := alerts(t)
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", rules)
	cases, err := os.ReadFile(filepath.Join("prometheus", "alerts_test.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(filepath.Dir(rules), "alerts_test.yaml")
	g.Expect(os.WriteFile(file, cases, 0o644)).To(Succeed())
	promtool(t, "test", "rules", file)
	for _, alert := range all {
		g.Expect(string(cases)).To(ContainSubstring(`alertname="`+alert.Alert+`",alertstate="firing"`), "no case makes it fire")
	}
}

func TestEachAlertHasARunbook(t *testing.T) {
	g := NewWithT(t)
	all, _ := alerts(t)
	pages := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join("..", "docs", "runbooks"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		pages[entry.Name()] = true
	}
	for _, alert := range all {
		g.Expect(alert.Labels["severity"]).To(BeElementOf("warning", "critical"), alert.Alert)
		g.Expect(alert.Annotations).To(And(HaveKey("summary"), HaveKey("description"), HaveLen(3)), alert.Alert)
		g.Expect(alert.Annotations["runbook_url"]).To(Equal("https://rolecredential.dev/docs/runbooks/" + alert.Alert + ".md"))
		page := alert.Alert + ".md"
		g.Expect(pages).To(HaveKey(page))
		delete(pages, page)
		text, err := os.ReadFile(filepath.Join("..", "docs", "runbooks", page))
		g.Expect(err).NotTo(HaveOccurred())
		// Each page starts with these sections.
		var headings []string
		for _, heading := range regexp.MustCompile(`(?m)^#+ .*$`).FindAllString(string(text), -1) {
			headings = append(headings, strings.ReplaceAll(heading, "`", ""))
		}
		g.Expect(len(headings)).To(BeNumerically(">=", 3), page)
		g.Expect(headings[:3]).To(Equal([]string{"# " + alert.Alert, "## What you see", "## What to do"}), page)
		g.Expect(string(text)).To(ContainSubstring("`" + alert.Labels["severity"] + "`"))
	}
	delete(pages, "README.md")
	g.Expect(slices.Collect(maps.Keys(pages))).To(BeEmpty(), "pages without an alert")
}

// metricsOf returns the names of a query's metrics, and of the labels that it uses. Promtool adds a matcher to each selector of the query, by
// which metricsOf finds them.
func metricsOf(t *testing.T, query string) (metrics, labels []string) {
	t.Helper()
	text := promtool(t, "--experimental", "promql", "label-matchers", "set", "--type==", query, "selected", "yes")
	for _, found := range regexp.MustCompile(`([a-zA-Z_:]*)\{([^{}]*)\}`).FindAllStringSubmatch(text, -1) {
		metrics = append(metrics, found[1])
		for _, matcher := range regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"`).FindAllStringSubmatch(found[2], -1) {
			labels = append(labels, matcher[1])
		}
	}
	for _, found := range regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right) \(([^()]*)\)`).FindAllStringSubmatch(text, -1) {
		labels = append(labels, strings.FieldsFunc(found[1], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	NewWithT(t).Expect(metrics).NotTo(BeEmpty(), text)
	return metrics, slices.DeleteFunc(labels, func(label string) bool { return label == "selected" })
}

// catalogue returns the series that a query may use, with the parts of histograms, and the labels of each.
func catalogue() map[string][]string {
	all := map[string][]string{}
	for _, metric := range telemetry.Catalogue {
		if metric.Type != telemetry.Histogram {
			all[metric.Name] = metric.Labels
			continue
		}
		all[metric.Name+"_bucket"] = append(slices.Clone(metric.Labels), "le")
		all[metric.Name+"_count"], all[metric.Name+"_sum"] = metric.Labels, metric.Labels
	}
	return all
}

// requireExisting fails unless the catalogue has each metric and label of a query. It returns the metrics.
func requireExisting(t *testing.T, query string) (metrics []string) {
	t.Helper()
	g := NewWithT(t)
	known := catalogue()
	metrics, used := metricsOf(t, query)
	var labels []string
	for _, metric := range metrics {
		g.Expect(known).To(HaveKey(metric), query)
		labels = append(labels, known[metric]...)
	}
	for _, label := range used {
		g.Expect(labels).To(ContainElement(label), query)
	}
	return metrics
}

func TestAlertsUseExistingMetricsAndLabels(t *testing.T) {
	all, _ := alerts(t)
	for _, alert := range all {
		requireExisting(t, alert.Expr)
	}
}

func TestMetricsOfReturnsMetricsAndLabelsOfQuery(t *testing.T) {
	for query, want := range map[string][2][]string{
		`up`: {{"up"}, nil},
		`sum by (a, b) (rate(x{c="d",e!~"f"}[5m])) / on (g) group_left (h) max without (i) (y)`: {{"x", "y"}, {"c", "e", "a", "b", "g", "h", "i"}},
		`histogram_quantile(0.9, sum by (le) (rate(z_bucket[5m])))`:                             {{"z_bucket"}, {"le"}},
	} {
		t.Run(query, func(t *testing.T) {
			metrics, labels := metricsOf(t, query)
			NewWithT(t).Expect(metrics).To(ConsistOf(want[0]))
			NewWithT(t).Expect(labels).To(ConsistOf(want[1]))
		})
	}
}

// queries returns the PromQL queries of the dashboard, with values for its variables.
func queries(t *testing.T) (all []string) {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join("grafana", "rolecredential.json"))
	g.Expect(err).NotTo(HaveOccurred())
	var dashboard struct {
		Panels     []struct{ Targets []struct{ Expr string } }
		Templating struct {
			List []struct{ Type, Query string }
		}
	}
	g.Expect(yaml.Unmarshal(text, &dashboard)).To(Succeed())
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, strings.NewReplacer("$namespace", "shop|lab", "$__rate_interval", "5m").Replace(target.Expr))
		}
	}
	for _, variable := range dashboard.Templating.List {
		if found := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(variable.Query); found != nil {
			all = append(all, "sum by ("+found[2]+") ("+found[1]+")")
		} else {
			g.Expect(variable.Type).To(Equal("datasource"), variable.Query)
		}
	}
	g.Expect(len(all)).To(BeNumerically(">", 20))
	return all
}

func TestDashboardShowsEachMetricAndNoUnknownMetric(t *testing.T) {
	var metrics []string
	for _, query := range queries(t) {
		metrics = append(metrics, requireExisting(t, query)...)
	}
	for _, metric := range telemetry.Catalogue {
		NewWithT(t).Expect(metrics).To(ContainElement(HavePrefix(metric.Name)))
	}
}

func TestScrapeConfigOfDocsIsValid(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join("..", "docs", "metrics.md"))
	g.Expect(err).NotTo(HaveOccurred())
	found := regexp.MustCompile("(?s)```yaml config\n(scrape_configs:.*?)```").FindSubmatch(page)
	g.Expect(found).NotTo(BeNil())
	file := filepath.Join(t.TempDir(), "prometheus.yaml")
	g.Expect(os.WriteFile(file, found[1], 0o644)).To(Succeed())
	promtool(t, "check", "config", "--syntax-only", file)
}
