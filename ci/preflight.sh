#!/bin/sh
# What a fresh clone needs before anything is installed: Python 3.11 with venv and its headers, and a C compiler.
#
# Prints PYTHON='...' CC='...' for `eval`, or says on stderr what is missing and how to get it, and exits with 2.
# PYTHON and CC in the environment are taken as they are. Uses shell built-ins only, so that PATH may hold nothing.
set -eu

fail() {
    printf 'mycelium: %s\n' "$1" >&2
    printf '  Debian, Ubuntu:  %s\n  Fedora:          %s\n  macOS:           %s\n' "$2" "$3" "$4" >&2
    exit 2
}

# --- Python: the newest that is whole; else the first that is new enough, of which we then say what it lacks ----

describe='import sys; print("%d %d" % sys.version_info[:2])'
complete='import ensurepip, os, sysconfig, venv; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))'
newest=''
whole=''
old=''
for name in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
    # A pyenv shim is on PATH for versions that are not there: only an answer counts.
    version=$("$name" -c "$describe" 2>/dev/null) || continue
    major=${version% *}
    minor=${version#* }
    if [ "$major" -lt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -lt 11 ]; }; then
        old="$name is $major.$minor"
        continue
    fi
    newest=${newest:-$name}
    if "$name" -c "$complete" >/dev/null 2>&1; then
        whole=$name
        break
    fi
done

if [ -z "$newest" ]; then
    fail "Python 3.11 or later is needed, and ${old:-none was found}." \
        'sudo apt install python3 python3-venv python3-dev  (Debian 12, Ubuntu 24.04 or later)' \
        'sudo dnf install python3 python3-devel' \
        'brew install python@3.13'
fi
python=${whole:-$newest}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    fail "$python has no venv module (ensurepip is missing), which .venv is made with." \
        "sudo apt install python$version-venv" 'sudo dnf install python3' 'brew install python@3.13'
fi

# --- a C compiler that compiles ---------------------------------------------------------------------------------

own=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "")')
compiler=''
if [ -n "${CC:-}" ]; then
    set -- "$CC"
else
    set -- "$own" cc gcc clang
fi
for name in "$@"; do
    # The first word: Python may have been built with "gcc -pthread", which setuptools keeps.
    if [ -n "$name" ] && command -v "${name%% *}" >/dev/null 2>&1; then
        compiler=$name
        break
    fi
done
if [ -z "$compiler" ]; then
    fail "a C compiler is needed to build the extensions${CC:+ (CC is $CC)}, and none was found." \
        'sudo apt install build-essential' 'sudo dnf install gcc' 'xcode-select --install'
fi
if ! printf '#include <stdio.h>\nint main(void) { return 0; }\n' | $compiler -fsyntax-only -x c - 2>/dev/null; then
    fail "the C compiler ($compiler) does not compile a program that includes <stdio.h>." \
        'sudo apt install build-essential' 'sudo dnf install gcc glibc-devel' 'xcode-select --install'
fi

# --- Python's headers -------------------------------------------------------------------------------------------

include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
if ! printf '#include <Python.h>\n' | $compiler -fsyntax-only -I "$include" -x c - 2>/dev/null; then
    fail "the headers of $python are missing (no usable Python.h in $include)." \
        "sudo apt install python$version-dev" 'sudo dnf install python3-devel' 'brew install python@3.13'
fi

printf "PYTHON='%s' CC='%s'\n" "$python" "$compiler"
