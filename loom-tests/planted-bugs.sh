#!/usr/bin/env bash
# Switches each planted bug on and shows that its model fails on it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test -p loom-tests --lib -- --exact --nocapture \
  core::models::planted::every_planted_bug_is_found
