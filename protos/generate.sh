#!/bin/sh
# Generate numaplace/v1 from protos/, in an environment of its own: the generator's version sets the lowest protobuf
# runtime that users may have, so it is pinned low (see README.md). `generate.sh DIR` writes below DIR instead.
set -eu
cd "$(dirname "$0")/.."
out=${1:-.}
uv=${UV:-uv}
mkdir -p "$out"
"$uv" run -q --no-project --isolated --python-preference only-system --with grpcio-tools==1.71.2 --with 'setuptools<81' \
  python -m grpc_tools.protoc -I protos --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" protos/numaplace/v1/*.proto
printf '"""Generated from protos/ by protos/generate.sh. Never edited."""\n' > "$out/numaplace/v1/__init__.py"
