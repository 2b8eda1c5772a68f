#!/usr/bin/env bash
# The first run on a CUDA device, for when there is one for ten minutes only.
#
#     benchmarks/first_run.sh DIR              # a new folder, which gets log.txt, <device>.json and ncu.csv
#     benchmarks/first_run.sh DIR --rehearse   # tiny images and one test, on an emulator or Numba's simulator
#
# What is worth most comes first. A step that fails or is killed at its limit costs none of those after it, and
# what it printed and measured until then is kept. Needs numpy, numba, numba-cuda, h5py, pytest, pytest-xdist.
set -uo pipefail

out=$(realpath -m "${1:?usage: benchmarks/first_run.sh DIR [--rehearse]}")
rehearse=${2:-}
tests="test_cuda or cuda] or same_bits"
if [[ $rehearse == --rehearse ]]; then
    tests="worked_by_hand and cuda]"
elif [[ -n $rehearse ]]; then
    echo "the second argument must be --rehearse, got $rehearse" >&2
    exit 2
fi
cd "$(dirname "$0")/.." || exit 2
mkdir -p "$out" || exit 2
if [[ -n $(ls -A "$out") ]]; then
    echo "$out must be a new or empty folder; choose another" >&2
    exit 2
fi

python=${GPU_PYTHON:-python3}
all=540 # seconds of all steps
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export PYTHONUNBUFFERED=1 PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} NUMBA_CACHE_DIR=$cache
# Where CUDA's compiler is not among Python's packages
if [[ -z ${CUDA_HOME:-} && -d /usr/local/cuda ]]; then export CUDA_HOME=/usr/local/cuda; fi

step() { # NAME SECONDS COMMAND...
    local name=$1 seconds=$2 began=$SECONDS code
    shift 2
    echo "== $name, at most $seconds s" | tee -a "$out/log.txt"
    timeout --kill-after=5 "$seconds" "$@" 2>&1 | tee -a "$out/log.txt"
    code=${PIPESTATUS[0]}
    echo "== $name: exit code $code after $((SECONDS - began)) s" | tee -a "$out/log.txt"
}

benchmark() { # NAME SECONDS CASES...
    local name=$1 seconds=$2
    shift 2
    step "$name" "$seconds" "$python" benchmarks/bench_gpu.py --output "$out" --resume ${rehearse:+"$rehearse"} --only "$@"
}

versions() {
    uname -a
    nvidia-smi
    nvcc --version
    "$1" --version
    "$1" -c "from glcm_cuda.engines.choice import why_no_cuda; print('why no CUDA:', why_no_cuda() or 'it works')"
    "$1" -m pip list | grep -iE "^(numpy|numba|llvmlite|cuda|nvidia|h5py|pytest|cupy|jax|torch)"
}
export -f versions

step versions 20 bash -c 'versions "$1"' versions "$python"
benchmark "5x5" 60 first
# As `make gpu-tests`
step tests 140 env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 "$python" -m pytest -p xdist -n "${GPU_PROCESSES:-12}" \
    --dist worksteal -p no:cacheprovider -q -W default -k "$tests" tests/glcm_cuda/test_entropy_map.py \
    tests/glcm_cuda/engines tests/glcm_cuda/families/glcm/test_cuda_features.py \
    tests/glcm_cuda/families/test_cuda_families.py
benchmark "windows and features" 110 first windows
benchmark families 100 families
benchmark ncu 50 ncu
benchmark memcheck 50 memcheck
left=$((all - SECONDS))
if ((left > 10)); then benchmark "the time that is left" "$left" windows families rest; fi
shopt -s nullglob
reports=("$out"/*.json)
echo "the report, for benchmarks/results: ${reports[*]:-none, no case was run}"
