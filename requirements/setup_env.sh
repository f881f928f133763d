#!/usr/bin/env bash
# Make or repair an environment: that of development in .venv, or one to test other versions in .venv-NAME.
#
# Usage: requirements/setup_env.sh [NAME]
#   older  an older torch
#   onedl  the OneDL forks of mmcv, mmengine, mmdet, mmpretrain and mim
#   py312  the development environment's packages with Python 3.12
# Environment: PYTHON (default python3.11, or python3.12 for py312),
#   MMTHUNDER_CACHE (default ~/.cache/mmthunder; keeps the mmcv wheels).
#
# Each step first asks whether its result is already there and works, so a second call returns in
# seconds, and a call after an interrupted or damaged one redoes what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

NAME=${1-}
VENV=$PWD/.venv${NAME:+-$NAME}
STAMP=$VENV/.mmthunder-complete
CACHE=${MMTHUNDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmthunder}
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }

case $NAME in
  '' | older | onedl) VERSION=3.11 ;;
  py312) VERSION=3.12 ;;
  *) die "no environment $NAME; there are older, onedl and py312, and without a name that of development" ;;
esac

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

# The environment's packages whose names match a pattern, such as mmcv==2.1.0.
packages() {
  local list=requirements/${NAME:-default}.txt
  [ -f "$list" ] || list=requirements/default.txt
  grep -E "^($1)" "$list"
}

pip_install() { "$VENV/bin/python" -m pip install -c requirements/constraints.txt "$@"; }

fingerprint() {
  find requirements setup.cfg -type f -print0 | sort -z | xargs -0 cat |
    sha256sum | cut -d' ' -f1
}

# The packages that the project runs on can be imported; mmcv.ops loads the compiled extension and so
# notices a wheel that was built for another torch. The optional ones are only looked for: importing them takes long.
IMPORTS='import importlib.util
import mmcv.ops, mmdet.apis, torch, torchvision, mmthunder.models, mmthunder.engine, mmthunder.datasets
optional = "hypothesis memray mim mmpretrain ncnn nncf onnx onnxruntime onnxscript openvino pandas pnnx pytest " \
    "pytest_benchmark pytest_cov pytest_timeout seaborn tabulate"
missing = [name for name in optional.split() if importlib.util.find_spec(name) is None]
assert not missing, f"{missing} missing"'
works() { "$VENV/bin/mim" --version >/dev/null 2>&1 && "$VENV/bin/python" -c "$IMPORTS" >/dev/null 2>&1; }

find_python() {
  local candidate candidates=${PYTHON:-python$VERSION python3 python}
  for candidate in $candidates; do
    if "$candidate" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$VERSION')" 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  die "Python $VERSION with venv was not found (tried: $candidates); install it or set PYTHON=/path/to/python$VERSION"
}

# opencv-python, which mmcv asks for, needs libGL; the same OpenCV exists without windows.
install_headless_opencv() {
  local version
  version=$("$VENV/bin/python" -c 'from importlib.metadata import version; print(version("opencv-python"))')
  "$VENV/bin/python" -m pip uninstall -y opencv-python
  pip_install --force-reinstall --no-deps "opencv-python-headless==$version"
}

make_venv() {
  if [ -d "$VENV" ] && ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    say "${VENV##*/} is broken (its python or pip does not start); removing it"
    rm -rf "$VENV"
  fi
  if [ ! -d "$VENV" ]; then
    local python
    python=$(find_python)
    step "creating ${VENV##*/} with $($python --version)" "$python" -m venv "$VENV"
  fi
}

# The registry has mmcv's source alone. Its setup asks for -std=c++17 where the headers of torch 2.14 want
# C++20 (open-mmlab/mmcv#3341), which suits the older ones too; the last -std on the command line wins, so a
# wrapper appends it.
build_mmcv() {
  local mmcv=$1 wheels=$2 start=$SECONDS tmp
  command -v "${CXX:-c++}" >/dev/null || die "no C++ compiler (${CXX:-c++}); install one, for example: apt-get install g++"
  mkdir -p "$wheels"
  tmp=$(mktemp -d -p "$wheels")  # beside its place, so that the move at the end is all or nothing
  printf '#!/bin/sh\nexec %s "$@" -std=c++20\n' "${CXX:-c++}" >"$tmp/cxx"
  chmod +x "$tmp/cxx"
  say "building $mmcv with its CPU operators, once (about 9 minutes on 2 cores); the wheel is kept in $wheels ..."
  # Ninja numbers the object files; passing those numbers on is the progress report.
  # Where there is a GPU, mmcv would build for it whatever FORCE_CUDA says.
  if ! CUDA_VISIBLE_DEVICES='' CXX=$tmp/cxx CFLAGS='-O2 -g0' MMCV_WITH_OPS=1 FORCE_CUDA=0 PATH="$VENV/bin:$PATH" \
    "$VENV/bin/python" -m pip wheel -v --no-cache-dir --no-build-isolation --no-deps --no-binary :all: -w "$tmp" "$mmcv" 2>&1 |
    tee "$tmp/log" | while read -r count rest; do
      case $count in '['*0/*']') say "    $count files" ;; esac
    done; then
    tail -n 40 "$tmp/log" >&2
    die "$mmcv did not build"
  fi
  mv "$tmp"/*.whl "$wheels"/
  rm -rf "$tmp"
  say "    done in $(elapsed "$start")"
}

install_mmcv() {
  local mmcv wheels
  mmcv=$(packages '(onedl-)?mmcv')
  # The wheel fits one torch, one Python and one machine type, so all three name its directory.
  wheels=$CACHE/${mmcv/==/-}-$("$VENV/bin/python" -c '
import platform, sys, torch
print(f"torch{torch.__version__}-cp{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}")')
  ls "$wheels"/*.whl >/dev/null 2>&1 || build_mmcv "$mmcv" "$wheels"
  step "installing $mmcv from $wheels" pip_install --force-reinstall --no-deps "$wheels"/*.whl
}

install_all() {
  make_venv
  step "installing the build tools" pip_install -r requirements/build.txt
  # shellcheck disable=SC2046  # each line is one package
  step "installing torch and torchvision (about 2 minutes)" pip_install $(packages torch)
  # mmengine and the rest come before mmcv: importing mmcv.ops, the test of its wheel, needs them.
  # shellcheck disable=SC2046
  step "installing mmengine, mmdet, mmpretrain and development tools (about 1 minute)" \
    pip_install $(packages '(onedl-)?mm(engine|det|pretrain)') -r requirements/dev.txt
  step "installing mmthunder from this directory, with what plans, exports and runs models (about 2 minutes)" \
    pip_install --no-build-isolation -e '.[planning,export,onnxruntime,openvino,ncnn]'
  "$VENV/bin/python" -c 'import cv2' 2>/dev/null ||
    step "replacing OpenCV by its headless build (this machine has no libGL)" install_headless_opencv
  "$VENV/bin/python" -c 'import mmcv.ops' 2>/dev/null || install_mmcv
  step "installing mim" pip_install --no-deps "$(packages '(openmim|onedl-mim)')"
}

main() {
  if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ] && works; then
    say "${VENV##*/} is complete"
    return
  fi
  if [ -d "$VENV" ]; then say "${VENV##*/} is incomplete, damaged or out of date; repairing it"; fi
  rm -f "$STAMP"
  install_all
  if ! works; then
    # Damage that pip does not see, such as a deleted file of an installed package.
    say "${VENV##*/} cannot be repaired in place; making it anew"
    rm -rf "$VENV"
    install_all
  fi
  works || die "${VENV##*/} does not work: $("$VENV/bin/python" -c "$IMPORTS" 2>&1 | tail -n 1)"
  fingerprint >"$STAMP"
  say "environment complete in $(elapsed 0)"
}

main
