package main

// row is a row of panels with a title.
type row struct {
	title  string
	panels []panel
}

// panel is a panel of the dashboard.
type panel struct {
	title, about string
	shape        shape
	unit         string // as Grafana names it
	queries      []query
}

type shape string

const (
	number shape = "stat"
	graph  shape = "timeseries"
	list   shape = "table"
)

// query is a PromQL expression, and the legend of its series.
type query struct{ expr, legend string }

// inNamespace selects the series of the chosen namespaces.
const inNamespace = `{namespace=~"$namespace"}`

// byName removes the labels of the manager: a new leader reports the same objects.
const byName = `max by (kind, namespace, name) `

var rows = []row{
	{"At a glance", []panel{
		{title: "Leaders", about: "Expected: one.", shape: number, queries: []query{{"sum(rolecredential_leading) or vector(0)", "leading"}}},
		{title: "Credentials issued", shape: number, queries: []query{{"count(" + byName + "(rolecredential_expiration_timestamp_seconds" + inNamespace + ")) or vector(0)", "issued"}}},
		{title: "Expired now", about: "Without suspended credentials.", shape: number, queries: []query{{"count(" + byName + "(rolecredential_expired" + inNamespace + ")) or vector(0)", "expired"}}},
		{title: "Failing", about: "The operator cannot issue or refresh them. The Secret's present credentials may still be valid.", shape: number, queries: []query{
			{"count(" + byName + "(rolecredential_failing" + inNamespace + ")) or vector(0)", "failing"},
		}},
		{title: "Identities not ready", shape: number, queries: []query{{"count(max by (identity) (rolecredential_identity_ready) == 0) or vector(0)", "not ready"}}},
		{title: "Readers that are never restarted", shape: number, queries: []query{{"sum(" + byName + "(rolecredential_stuck_readers" + inNamespace + ")) or vector(0)", "stuck"}}},
	}},
	{"Credentials", []panel{
		{title: "First to expire", shape: list, unit: "s", queries: []query{
			{"bottomk(20, " + byName + "(rolecredential_expiration_timestamp_seconds" + inNamespace + ") - time())", "expires in"},
		}},
		{title: "Failing, by reason", shape: list, queries: []query{{"max by (kind, namespace, name, reason) (rolecredential_failing" + inNamespace + ")", "failing"}}},
		{title: "Due for a refresh", shape: graph, queries: []query{
			{"count(" + byName + "(rolecredential_next_refresh_timestamp_seconds" + inNamespace + ") < time()) or vector(0)", "due"},
		}},
		{title: "Age of issued credentials", shape: graph, unit: "s", queries: []query{
			{"max(time() - " + byName + "(rolecredential_issued_timestamp_seconds" + inNamespace + "))", "oldest"},
			{"avg(time() - " + byName + "(rolecredential_issued_timestamp_seconds" + inNamespace + "))", "mean"},
		}},
		{title: "Lateness of refreshes", about: "Time between the due time and the refresh.", shape: graph, unit: "s", queries: []query{
			{"histogram_quantile(0.5, sum by (le) (rate(rolecredential_refresh_lateness_seconds_bucket[$__rate_interval])))", "50% within"},
			{"histogram_quantile(0.99, sum by (le) (rate(rolecredential_refresh_lateness_seconds_bucket[$__rate_interval])))", "99% within"},
		}},
	}},
	{"STS", []panel{
		{title: "Calls, by result", shape: graph, unit: "reqps", queries: []query{
			{"sum by (call, reason) (rate(rolecredential_sts_calls_total[$__rate_interval]))", "{{call}} {{reason}}"},
		}},
		{title: "Response time", shape: graph, unit: "s", queries: []query{
			{"histogram_quantile(0.5, sum by (call, le) (rate(rolecredential_sts_request_duration_seconds_bucket[$__rate_interval])))", "{{call}} 50% within"},
			{"histogram_quantile(0.99, sum by (call, le) (rate(rolecredential_sts_request_duration_seconds_bucket[$__rate_interval])))", "{{call}} 99% within"},
		}},
		{title: "Throttled", shape: graph, unit: "reqps", queries: []query{
			{"sum by (identity) (rate(rolecredential_sts_throttled_total[$__rate_interval]))", "{{identity}}"},
		}},
		{title: "Clock skew: STS's clock minus the operator's", shape: graph, unit: "s", queries: []query{{"max by (identity) (rolecredential_sts_clock_skew_seconds)", "{{identity}}"}}},
		{title: "Time until a source's certificate expires", shape: graph, unit: "s", queries: []query{
			{"min by (kind, namespace, name) (rolecredential_source_expiration_timestamp_seconds) - time()", "{{kind}} {{namespace}}/{{name}}"},
		}},
	}},
	{"STS rate limits", []panel{
		{title: "Rate and limit", about: "A rate below the limit: STS has throttled.", shape: graph, unit: "reqps", queries: []query{
			{"max by (identity) (rolecredential_sts_rate)", "{{identity}} rate"},
			{"max by (identity) (rolecredential_sts_rate_limit)", "{{identity}} limit"},
		}},
		{title: "Tokens", shape: graph, queries: []query{{"max by (identity) (rolecredential_sts_tokens)", "{{identity}}"}}},
		{title: "Credentials waiting for the rate limit, by class", shape: graph, queries: []query{{"max by (identity, class) (rolecredential_sts_waiting_credentials)", "{{identity}} {{class}}"}}},
		{title: "Calls in flight", shape: graph, queries: []query{{"max by (identity) (rolecredential_sts_calls_in_flight)", "{{identity}}"}}},
		{title: "Bounds between namespaces that were hit", shape: graph, queries: []query{{"sum by (limit) (increase(rolecredential_limit_hits_total[$__rate_interval]))", "{{limit}}"}}},
		{title: "Identities with an open circuit breaker", shape: graph, queries: []query{{"max by (identity) (rolecredential_sts_circuit_open)", "{{identity}}"}}},
	}},
	{"Rollouts", []panel{
		{title: "Stale readers", shape: graph, queries: []query{
			{"topk(10, " + byName + "(rolecredential_stale_readers" + inNamespace + "))", "{{namespace}}/{{name}}"},
		}},
		{title: "Rollouts in progress", shape: graph, queries: []query{{"max(rolecredential_rollouts_in_progress)", "in progress"}}},
		{title: "Finished rollouts", shape: graph, queries: []query{{"sum by (result) (increase(rolecredential_rollouts_total[$__rate_interval]))", "{{result}}"}}},
	}},
}
