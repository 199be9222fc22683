#!/usr/bin/env bash
# Looks for known vulnerabilities that the programs reach, with govulncheck (its path is the argument) and the database of GOVULNDB, by
# default Go's own, https://vuln.go.dev. Exit status: 0 for none, 3 for some, 4 if the database cannot be reached, so that nothing is
# known, and 1 for whatever else went wrong.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

database=${GOVULNDB:-https://vuln.go.dev}
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

status=0
"$1" -db "$database" ./cmd/... 2>"$errors" || status=$?
cat "$errors" >&2
if ((status == 1)) && grep -q "fetching vulnerabilities" "$errors"; then
  echo "vulncheck: NOT CHECKED: the database $database cannot be reached from here. Run this where it can be, or let GOVULNDB name a mirror of it." >&2
  exit 4
fi
exit "$status"
