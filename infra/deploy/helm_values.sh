#!/usr/bin/env bash
# helm_values.sh REGISTRY <images.env: the values of infra/k8s/capstone that name the images of a release by digest.
set -euo pipefail
echo "image:"
echo "  registry: $1"
echo "  digests:"
sed -n 's/^CAPSTONE_IMAGE_\([A-Z]*\)=.*@\(sha256:[0-9a-f]\{64\}\)$/    \L\1\E: "\2"/p'
