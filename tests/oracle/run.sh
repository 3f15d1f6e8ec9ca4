#!/usr/bin/env bash
# usage: run.sh VARVE_ORACLE [SECONDS]
#
# The proof of native redo that CI runs: makes a corpus with a stock Postgres 15 in a scratch directory and checks it.
# Fails on any mismatch, on a record type that did not appear, and below 100,000 comparisons. About 40 seconds and
# 1.5 GB of scratch disk (under TMPDIR, default /var/tmp), which is removed. Further runs vary the settings:
# VARVE_ORACLE_ALL=1 adds one with wal_log_hints, one with full_page_writes and frequent checkpoints, and one with
# checksums and commit timestamps.
set -euo pipefail

oracle=$(realpath "$1")
seconds=${2:-5}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/varve-oracle.XXXXXX")
chmod 755 "$scratch"
trap 'rm -rf "$scratch"' EXIT

check() {
  "$here/make_wal.sh" "$scratch/$1" "$seconds" "${@:2}" >/dev/null || {
    tail -n 5 "$scratch/$1"/log.* >&2
    return 1
  }
  "$oracle" --minimum 100000 "$scratch/$1/data"
  rm -rf "${scratch:?}/$1"
}

check plain
if [ -n "${VARVE_ORACLE_ALL:-}" ]; then
  check hints wal_log_hints=on
  check images full_page_writes=on checkpoint_timeout=30s max_wal_size=40MB wal_level=logical
  VARVE_INITDB_OPTIONS=-k check checksums wal_level=logical track_commit_timestamp=on
fi
