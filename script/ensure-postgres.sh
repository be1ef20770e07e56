#!/usr/bin/env bash
# Makes sure that PostgreSQL's server programs, 15 or later, are on this machine: installs them when run by root on
# Debian or Ubuntu, else says what to install. It looks where internal/postgres/pgembed looks.
set -euo pipefail

readonly MIN=15

# major DIR: the major version of the server in DIR; fails when there is none.
major() {
  [[ -x $1/postgres && -x $1/initdb ]] || return 1
  "$1/postgres" --version 2>/dev/null | sed -nE 's/.*\(PostgreSQL\) ([0-9]+).*/\1/p' | grep .
}

# good DIR: DIR holds a server that will do.
good() {
  local v
  v=$(major "$1") && ((v >= MIN)) && echo "PostgreSQL $v in $1"
}

find_server() {
  if [[ -n ${FORGE_PG_BIN:-} ]]; then
    good "$FORGE_PG_BIN"
    return
  fi
  local dir program
  if dir=$(pg_config --bindir 2>/dev/null) && good "$dir"; then return 0; fi
  while IFS= read -r dir; do
    if good "$dir"; then return 0; fi
  done < <(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV)
  if program=$(command -v postgres) && good "$(dirname "$(readlink -f "$program")")"; then return 0; fi
  return 1
}

if find_server; then
  exit 0
fi

if [[ -n ${FORGE_PG_BIN:-} ]]; then
  echo "FORGE_PG_BIN=$FORGE_PG_BIN holds no PostgreSQL $MIN or later (postgres and initdb): correct or unset it" >&2
  exit 1
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo "No PostgreSQL server $MIN or later on this machine. Install it (Debian, Ubuntu: sudo apt-get install -y postgresql)" \
    "or set FORGE_PG_BIN to the directory that holds postgres and initdb." >&2
  exit 1
fi

had_clusters=$(command -v pg_lsclusters || true)
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null

# The package starts a cluster of its own on TCP port 5432, for which we have no use. One that was there before is not ours.
if [[ -z $had_clusters ]] && command -v pg_lsclusters >/dev/null; then
  pg_lsclusters -h | while read -r version name _; do
    pg_ctlcluster "$version" "$name" stop || true
  done
fi

if ! find_server; then
  echo "This system's package postgresql is older than $MIN: install a later one, see https://www.postgresql.org/download/" >&2
  exit 1
fi
