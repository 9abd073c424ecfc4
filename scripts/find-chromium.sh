#!/usr/bin/env bash
# Prints the path of a Chromium that the browser tests can drive; fails when there is none.
# $CHROMIUM wins over everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for candidate in "${CHROMIUM:-}" chromium chromium-browser google-chrome-stable google-chrome; do
  [[ -n $candidate ]] || continue
  path=$(command -v "$candidate" 2>/dev/null) || continue
  # Ubuntu's chromium-browser is a script that only asks for a snap.
  "$path" --version >/dev/null 2>&1 && { printf '%s\n' "$path"; exit 0; }
done
# The one that playwright-core downloads.
for path in "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}"/chromium-*/chrome-linux*/chrome; do
  [[ -x $path ]] && { printf '%s\n' "$path"; exit 0; }
done
exit 1
