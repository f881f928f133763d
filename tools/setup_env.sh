#!/usr/bin/env bash
# Makes or repairs the development environment in .venv (see the README for other environments).
#
# Usage: tools/setup_env.sh
# Environment: PYTHON (default python3.11), MMTHUNDER_CACHE (default ~/.cache/mmthunder; keeps the mmcv wheel).
#
# Each step first asks whether its result is already there and works, so a second call returns in
# seconds, and a call after an interrupted or damaged one redoes what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

MMCV=2.1.0
OPENMIM=0.3.9
VENV=$PWD/.venv
STAMP=$VENV/.mmthunder-complete
CACHE=${MMTHUNDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmthunder}
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }
elapsed() { printf '%dm%02ds' $(((SECONDS - $1) / 60)) $(((SECONDS - $1) % 60)); }

# Runs a step quietly; its output is shown only when it fails.
step() {
  local what=$1 start=$SECONDS log
  shift
  log=$(mktemp)
  say "$what ..."
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    die "failed: $what (full log: $log)"
  fi
  rm -f "$log"
  say "    done in $(elapsed "$start")"
}

pip_install() { "$VENV/bin/python" -m pip install -c requirements/constraints.txt "$@"; }

fingerprint() { cat requirements/*.txt tools/setup_env.sh setup.cfg pyproject.toml | sha256sum | cut -d' ' -f1; }

# The packages that the project runs on can be imported; mmcv.ops loads the compiled extension and so
# notices a wheel that was built for another torch. The optional ones are only looked for: importing them takes long.
IMPORTS='import importlib.util
import mmcv.ops, mmdet.apis, torch, torchvision, mmthunder.models, mmthunder.engine, mmthunder.datasets
optional = "hypothesis mim mmpretrain ncnn nncf onnx onnxruntime onnxscript openvino pnnx pytest pytest_cov seaborn"
missing = [name for name in optional.split() if importlib.util.find_spec(name) is None]
assert not missing, f"{missing} missing"'
works() { "$VENV/bin/mim" --version >/dev/null 2>&1 && "$VENV/bin/python" -c "$IMPORTS" >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3 python}; do
    if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  die "Python 3.11 with venv was not found (tried: ${PYTHON:-python3.11 python3 python}); install it or set PYTHON=/path/to/python3.11"
}

# opencv-python, which mmcv asks for, needs libGL; the same OpenCV exists without windows.
install_headless_opencv() {
  local version
  version=$("$VENV/bin/python" -c 'from importlib.metadata import version; print(version("opencv-python"))')
  "$VENV/bin/python" -m pip uninstall -y opencv-python
  pip_install "opencv-python-headless==$version"
}

make_venv() {
  if [ -d "$VENV" ] && ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    say ".venv is broken (its python or pip does not start); removing it"
    rm -rf "$VENV"
  fi
  if [ ! -d "$VENV" ]; then
    local python
    python=$(find_python)
    step "creating .venv with $($python --version)" "$python" -m venv "$VENV"
  fi
}

# mmcv 2.1.0 has no wheel for this torch. Its setup asks for -std=c++17 where torch's headers want
# C++20; the last -std on the command line wins, so a wrapper appends it.
build_mmcv() {
  local wheels=$1 start=$SECONDS tmp
  command -v "${CXX:-c++}" >/dev/null || die "no C++ compiler (${CXX:-c++}); install one, for example: apt-get install g++"
  mkdir -p "$wheels"
  tmp=$(mktemp -d -p "$wheels")  # beside its place, so that the move at the end is all or nothing
  printf '#!/bin/sh\nexec %s "$@" -std=c++20\n' "${CXX:-c++}" >"$tmp/cxx"
  chmod +x "$tmp/cxx"
  say "building mmcv $MMCV with its CPU operators, once (about 9 minutes on 2 cores); the wheel is kept in $wheels ..."
  # Ninja numbers the object files; passing those numbers on is the progress report.
  # Where there is a GPU, mmcv would build for it whatever FORCE_CUDA says.
  if ! CUDA_VISIBLE_DEVICES='' CXX=$tmp/cxx CFLAGS='-O2 -g0' MMCV_WITH_OPS=1 FORCE_CUDA=0 PATH="$VENV/bin:$PATH" \
    "$VENV/bin/python" -m pip wheel -v --no-build-isolation --no-deps --no-binary mmcv -w "$tmp" "mmcv==$MMCV" 2>&1 |
    tee "$tmp/log" | while read -r count rest; do
      case $count in '['*0/*']' | '['77/77']') say "    $count files" ;; esac
    done; then
    tail -n 40 "$tmp/log" >&2
    die "mmcv did not build"
  fi
  mv "$tmp"/mmcv-*.whl "$wheels"/
  rm -rf "$tmp"
  say "    done in $(elapsed "$start")"
}

install_mmcv() {
  local wheels
  # The wheel fits one torch, one Python and one machine type, so all three name its folder.
  wheels=$CACHE/mmcv-$MMCV-$("$VENV/bin/python" -c '
import platform, sys, torch
print(f"torch{torch.__version__}-cp{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}")')
  ls "$wheels"/mmcv-*.whl >/dev/null 2>&1 || build_mmcv "$wheels"
  step "installing mmcv $MMCV from $wheels" pip_install --force-reinstall --no-deps "$wheels"/mmcv-*.whl
}

install_all() {
  make_venv
  step "installing the build tools" pip_install -r requirements/build.txt
  step "installing torch and torchvision (about 2 minutes)" pip_install -r requirements/torch.txt
  # mmengine and the rest come first: importing mmcv.ops, the test of its wheel, needs them.
  step "installing mmengine, mmdet and mim (about 30 seconds)" pip_install -r requirements/mmdet.txt -r requirements/dev.txt
  step "installing the runtimes and mmpretrain (about 2 minutes)" \
    pip_install -r requirements/export.txt -r requirements/pretrain.txt
  "$VENV/bin/python" -c 'import cv2' 2>/dev/null ||
    step "replacing OpenCV by its headless build (this machine has no libGL)" install_headless_opencv
  "$VENV/bin/python" -c 'import mmcv.ops' 2>/dev/null || install_mmcv
  step "installing openmim $OPENMIM" pip_install --no-deps "openmim==$OPENMIM"
  step "installing mmthunder from this folder" pip_install --no-deps --no-build-isolation -e .
}

main() {
  if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ] && works; then
    say ".venv is complete"
    return
  fi
  if [ -d "$VENV" ]; then say ".venv is incomplete, damaged or out of date; repairing it"; fi
  rm -f "$STAMP"
  install_all
  if ! works; then
    # Damage that pip does not see, such as a deleted file of an installed package.
    say ".venv cannot be repaired in place; making it anew"
    rm -rf "$VENV"
    install_all
  fi
  works || die ".venv does not work: $("$VENV/bin/python" -c "$IMPORTS" 2>&1 | tail -n 1)"
  fingerprint >"$STAMP"
  say "environment complete in $(elapsed 0)"
}

main
