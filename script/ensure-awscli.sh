#!/usr/bin/env bash
# Makes sure that Amazon's own command line, with which the tests drive the emulator, is on this machine: installs it
# when run by root on Debian or Ubuntu, else says what to install. Either of its two versions will do.
set -euo pipefail

if command -v aws >/dev/null; then
  exit 0
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo "The aws program is not on this machine. Install it (Debian, Ubuntu: sudo apt-get install -y awscli)." >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends awscli >/dev/null
