#!/usr/bin/env bash
# usage: make_wal.sh DIRECTORY [SECONDS] [NAME=VALUE...]
#
# Makes a corpus for varve_oracle: runs a stock Postgres 15 in DIRECTORY (which must not exist) with
# wal_consistency_checking=all, so that every record carries an image of each page it changed, and
# full_page_writes=off, so that none of these images is applied instead of tested. SECONDS (default 8) is how
# long each of the two timed parts lasts; NAME=VALUE are further settings. Leaves DIRECTORY/data after a clean
# shutdown, with all WAL in data/pg_wal. Only a Unix socket inside DIRECTORY is opened.
#
# The workloads create what makes each record type of heap, heap2, btree, sequence and full images appear; other
# index methods stay out. Set VARVE_PG_BIN for another Postgres.
set -euo pipefail

directory=$1
seconds=${2:-8}
shift $(($# < 2 ? $# : 2))
bin=${VARVE_PG_BIN:-/usr/lib/postgresql/15/bin}
here=$(cd "$(dirname "$0")" && pwd)

[ -x "$bin/initdb" ] || { echo "no Postgres in $bin: install postgresql-15" >&2; exit 1; }
[ ! -e "$directory" ] || { echo "$directory exists" >&2; exit 1; }
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
cp "$here"/*.sql "$directory"

run() { "$@"; }
if [ "$(id -u)" = 0 ]; then
  chown -R postgres "$directory"
  run() { runuser -u postgres -- "$@"; }
fi
cd "$directory"
data=$directory/data
log=$directory/log

run "$bin/initdb" -D "$data" -U postgres --auth=trust --no-locale -E UTF8 -N ${VARVE_INITDB_OPTIONS:-} >"$log.initdb"
cat >>"$data/postgresql.conf" <<SETTINGS
listen_addresses = ''
unix_socket_directories = '$directory'
wal_consistency_checking = 'all'
full_page_writes = off
wal_compression = lz4
fsync = off
max_wal_size = 100GB
wal_keep_size = 100GB
checkpoint_timeout = 1h
max_prepared_transactions = 10
autovacuum_naptime = 2s
shared_buffers = 64MB
SETTINGS
for setting in "$@"; do echo "$setting" >>"$data/postgresql.conf"; done

run "$bin/pg_ctl" -D "$data" -l "$log.postgres" -w start >"$log.start"
trap 'run "$bin/pg_ctl" -D "$data" -m immediate stop >"$log.stop" 2>&1 || true' EXIT
export PGHOST=$directory PGUSER=postgres PGDATABASE=postgres

sql() { run "$bin/psql" -qXAt -v ON_ERROR_STOP=1 "$@" >>"$log.psql"; }
bench() { run "$bin/pgbench" -n -c 4 -T "$1" -M prepared "${@:2}" postgres >>"$log.pgbench" 2>&1; }

sql -f "$directory/rows.sql"
sql -f "$directory/btree.sql"
run "$bin/pgbench" -q -i -s 1 postgres >>"$log.pgbench" 2>&1
bench "$seconds"
sql -c 'VACUUM (FREEZE) pgbench_accounts'
# Conflicts, lock chains and multixacts need concurrent sessions; failures of single transactions belong to it.
bench "$seconds" -f "$directory/concurrent.sql" --max-tries=20 || true
sql -f "$directory/after.sql"
sql -c CHECKPOINT

run "$bin/pg_ctl" -D "$data" -m fast -w stop >"$log.stop"
trap - EXIT
echo "$data"
