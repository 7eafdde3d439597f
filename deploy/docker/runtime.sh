#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What an image that runs mtm_server has: runtime.sh FOLDER installs the package in FOLDER, with what it depends on,
# and makes the user that the server runs as.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends "$1"/mtm_*.deb
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
groupadd --gid 10001 mtm
useradd --uid 10001 --gid mtm --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mtm
mkdir /memories /models
chown mtm:mtm /memories
