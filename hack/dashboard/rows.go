package main

// row is what is shown side by side under a title.
type row struct {
	title  string
	panels []panel
}

// panel is one picture.
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

// query is a PromQL expression, and what its series are called.
type query struct{ expr, legend string }

// inNamespace narrows a metric of a credential to the namespaces that are chosen.
const inNamespace = `{namespace=~"$namespace"}`

// Series of one object are told by whichever manager leads.
const byName = `max by (kind, namespace, name) `

var rows = []row{
	{"At a glance", []panel{
		{title: "Managers at work", about: "One, if all is well.", shape: number, queries: []query{{"sum(rolecredential_leading) or vector(0)", "leading"}}},
		{title: "Credentials issued", shape: number, queries: []query{{"count(" + byName + "(rolecredential_expiration_timestamp_seconds" + inNamespace + ")) or vector(0)", "issued"}}},
		{title: "Expired now", about: "Suspended ones are left out.", shape: number, queries: []query{{"count(" + byName + "(rolecredential_expired" + inNamespace + ")) or vector(0)", "expired"}}},
		{title: "Failing", about: "For which no new credential can be had. What the Secret holds may live on.", shape: number, queries: []query{
			{"count(" + byName + "(rolecredential_failing" + inNamespace + ")) or vector(0)", "failing"},
		}},
		{title: "Identities not ready", shape: number, queries: []query{{"count(max by (identity) (rolecredential_identity_ready) == 0) or vector(0)", "not ready"}}},
		{title: "Readers that will not be restarted", shape: number, queries: []query{{"sum(" + byName + "(rolecredential_stuck_readers" + inNamespace + ")) or vector(0)", "stuck"}}},
	}},
	{"Credentials", []panel{
		{title: "First to expire", shape: list, unit: "s", queries: []query{
			{"bottomk(20, " + byName + "(rolecredential_expiration_timestamp_seconds" + inNamespace + ") - time())", "expires in"},
		}},
		{title: "Failing, by reason", shape: list, queries: []query{{"max by (kind, namespace, name, reason) (rolecredential_failing" + inNamespace + ")", "failing"}}},
		{title: "Due, and not refreshed yet", shape: graph, queries: []query{
			{"count(" + byName + "(rolecredential_next_refresh_timestamp_seconds" + inNamespace + ") < time()) or vector(0)", "due"},
		}},
		{title: "Age of what the Secrets hold", shape: graph, unit: "s", queries: []query{
			{"max(time() - " + byName + "(rolecredential_issued_timestamp_seconds" + inNamespace + "))", "oldest"},
			{"avg(time() - " + byName + "(rolecredential_issued_timestamp_seconds" + inNamespace + "))", "mean"},
		}},
		{title: "Lateness of refreshes", about: "How long after they were due.", shape: graph, unit: "s", queries: []query{
			{"histogram_quantile(0.5, sum by (le) (rate(rolecredential_refresh_lateness_seconds_bucket[$__rate_interval])))", "half within"},
			{"histogram_quantile(0.99, sum by (le) (rate(rolecredential_refresh_lateness_seconds_bucket[$__rate_interval])))", "99% within"},
		}},
	}},
	{"STS", []panel{
		{title: "Calls, by what came of them", shape: graph, unit: "reqps", queries: []query{
			{"sum by (call, reason) (rate(rolecredential_sts_calls_total[$__rate_interval]))", "{{call}} {{reason}}"},
		}},
		{title: "Time to answer", shape: graph, unit: "s", queries: []query{
			{"histogram_quantile(0.5, sum by (call, le) (rate(rolecredential_sts_request_duration_seconds_bucket[$__rate_interval])))", "{{call}} half within"},
			{"histogram_quantile(0.99, sum by (call, le) (rate(rolecredential_sts_request_duration_seconds_bucket[$__rate_interval])))", "{{call}} 99% within"},
		}},
		{title: "Throttled", shape: graph, unit: "reqps", queries: []query{
			{"sum by (identity) (rate(rolecredential_sts_throttled_total[$__rate_interval]))", "{{identity}}"},
		}},
		{title: "Clock of STS ahead of the operator's", shape: graph, unit: "s", queries: []query{{"max by (identity) (rolecredential_sts_clock_skew_seconds)", "{{identity}}"}}},
	}},
	{"STS rate limits", []panel{
		{title: "Rate and limit", about: "A rate below the limit: STS has throttled.", shape: graph, unit: "reqps", queries: []query{
			{"max by (identity) (rolecredential_sts_rate)", "{{identity}} rate"},
			{"max by (identity) (rolecredential_sts_rate_limit)", "{{identity}} limit"},
		}},
		{title: "Tokens", shape: graph, queries: []query{{"max by (identity) (rolecredential_sts_tokens)", "{{identity}}"}}},
		{title: "Credentials that wait for a call, by class", shape: graph, queries: []query{{"max by (identity, class) (rolecredential_sts_waiting_credentials)", "{{identity}} {{class}}"}}},
		{title: "Calls in flight", shape: graph, queries: []query{{"max by (identity) (rolecredential_sts_calls_in_flight)", "{{identity}}"}}},
		{title: "Identities whose calls fail (circuit open)", shape: graph, queries: []query{{"max by (identity) (rolecredential_sts_circuit_open)", "{{identity}}"}}},
		{title: "Time until the first waiting credential expires", shape: graph, unit: "s", queries: []query{
			{"min by (identity) (rolecredential_sts_waiting_expiration_timestamp_seconds) - time()", "{{identity}}"},
		}},
	}},
	{"Rollouts", []panel{
		{title: "Readers of an earlier credential", shape: graph, queries: []query{
			{"topk(10, " + byName + "(rolecredential_stale_readers" + inNamespace + "))", "{{namespace}}/{{name}}"},
		}},
		{title: "Restarts under way", shape: graph, queries: []query{{"max(rolecredential_rollouts_in_progress)", "under way"}}},
		{title: "Restarts that are over", shape: graph, queries: []query{{"sum by (result) (increase(rolecredential_rollouts_total[$__rate_interval]))", "{{result}}"}}},
	}},
}
