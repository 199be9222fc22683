#!/usr/bin/env bash
# Scans the programs for known vulnerabilities with govulncheck, whose path is the argument. GOVULNDB is the database, by default Go's,
# https://vuln.go.dev. Exit status: 0 for none, 3 for some, 4 if the database cannot be reached and so the result is unknown, 1 for other
# errors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

database=${GOVULNDB:-https://vuln.go.dev}
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

status=0
"$1" -db "$database" ./cmd/... 2>"$errors" || status=$?
cat "$errors" >&2
if ((status == 1)) && grep -q "fetching vulnerabilities" "$errors"; then
  echo "vulncheck: NOT CHECKED: the database $database cannot be reached. Run this with access to it, or set GOVULNDB to a mirror." >&2
  exit 4
fi
exit "$status"
