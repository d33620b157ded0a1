#!/usr/bin/env bash
# Installs the servers that `npm run test:services` starts: Ceph RGW, an S3 server, and etcd (Debian,
# Ubuntu).
set -euo pipefail
packages=(ceph-mon ceph-osd radosgw ceph-common etcd-server openssl)

missing() {
  local package
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || return 0
  done
  return 1
}

if ! missing; then
  echo "install.sh: ${packages[*]} are installed"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "install.sh: needs apt-get; on other systems install ${packages[*]} yourself" >&2
  exit 1
fi
root=()
if [ "$(id -u)" -ne 0 ]; then root=(sudo -n); fi
export DEBIAN_FRONTEND=noninteractive
# Another process may hold the package lock for a while; without a bound apt-get fails at once.
options=(-y -q --no-install-recommends -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
"${root[@]}" timeout 240 apt-get update -q
"${root[@]}" timeout 600 apt-get install "${options[@]}" "${packages[@]}"
