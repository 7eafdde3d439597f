#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whether the server with --metrics-listen on port $1 of this host is ready.
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
IFS= read -r status <&3 && [[ $status == HTTP/1.?" 200 "* ]]
