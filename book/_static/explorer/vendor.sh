#!/usr/bin/env bash
# Makes d3.min.js, the parts of D3 that the explorer stands on: the files that npm
# publishes, unmodified, one after another in the order in which they need each other.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
cd "$made"
for part in dispatch@3.0.1 selection@3.0.0 color@3.1.0 interpolate@3.0.1 timer@3.0.1 \
  ease@3.0.1 transition@3.0.1 drag@3.0.0 zoom@3.0.0 quadtree@3.0.1; do
  tar -xzf "$(npm pack --silent "d3-$part")"
  {
    printf '/*\n%s\n*/\n' "$(cat package/LICENSE)"
    cat "package/dist/d3-${part%@*}.min.js"
    echo
  } >> all.js
  rm -r package
done
sha256sum -c <<< "82c948e2e79a157a591c76a9e4800a9774426334942f343adc3aca779573addf  all.js"
mv all.js "$here/d3.min.js"
