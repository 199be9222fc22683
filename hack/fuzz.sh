#!/usr/bin/env bash
# Fuzzes every Fuzz function, one after the other, each for FUZZTIME (30s), and lists the failed ones at the end. A failing input is stored
# in the package's testdata/fuzz: commit it with the fix.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# out_of_time returns whether a run failed only because its time ended, which Go before 1.27 reports as a failure at times
# (golang/go#75804). A real failure stores its input.
out_of_time() {
  grep -qx '    context deadline exceeded' "$log" && ! grep -q 'Failing input written to' "$log"
}

failed=()
while IFS=: read -r file function; do
  package=${file%/*} name=${function#func }
  echo "==> $package $name"
  # By default, the fuzzer spends a minute on minimizing each new input.
  go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-30s}" -fuzzminimizetime 1s </dev/null 2>&1 | tee "$log" || out_of_time || failed+=("$package $name")
done < <(grep -rEo --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]+' . | sort)

if ((${#failed[@]})); then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
