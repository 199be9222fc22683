#!/usr/bin/env bash
# Fuzzes every Fuzz function that there is, one after the other, each for FUZZTIME (30s), and says at the end which of them
# failed. What one fails with is left in its testdata/fuzz, to be committed with what mends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# out_of_time tells whether a run failed by nothing but that its time was up, which Go before 1.27 takes for a failure now and then
# (golang/go#75804). A failure of what is fuzzed leaves its input.
out_of_time() {
  grep -qx '    context deadline exceeded' "$log" && ! grep -q 'Failing input written to' "$log"
}

failed=()
while IFS=: read -r file function; do
  package=${file%/*} name=${function#func }
  echo "==> $package $name"
  # Left to itself, the fuzzer spends a minute on making each input smaller that reaches something new.
  go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-30s}" -fuzzminimizetime 1s </dev/null 2>&1 | tee "$log" || out_of_time || failed+=("$package $name")
done < <(grep -rEo --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]+' . | sort)

if ((${#failed[@]})); then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
