#!/bin/bash
# The tests (without those that need real servers) on every Python from 3.9 on that is installed here, each in an
# environment of its own. Other interpreters than those on the PATH: COMPAT_PYTHONS="/path/one /path/two" make compat
set -euo pipefail
cd "$(dirname "$0")/.."

candidates=${COMPAT_PYTHONS:-}
if [ -z "$candidates" ]; then
    for minor in 9 10 11 12 13 14; do
        candidates+=" $(command -v "python3.$minor" || true)"
        # pyenv keeps interpreters that are not on the PATH
        candidates+=" $(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python3 2>/dev/null | tail -n 1 || true)"
    done
fi
tried=" "
failed=""
for python in $candidates; do
    # pyenv puts names on the PATH behind which there may be nothing
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $tried in *" $version "*) continue ;; esac
    tried+="$version "
    echo "=== Python $version ($python)"
    folder=$(mktemp -d)
    "$python" -m venv "$folder/venv"
    # From a copy: setuptools leaves folders behind where it builds.
    mkdir "$folder/source"
    cp -r check_lync_presence pyproject.toml setup.cfg README.md LICENSE "$folder/source"
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$folder/source[test]"
    # From the outside, so that the installed package is tested and not this folder.
    (cd "$folder" && cp -r "$OLDPWD/tests" "$OLDPWD/setup.cfg" "$OLDPWD/README.md" . &&
        "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider tests --ignore=tests/lab) || failed+=" $version"
    rm -rf "$folder"
done
[ "$tried" != " " ] || { echo "no Python from 3.9 on found"; exit 1; }
[ -z "$failed" ] || { echo "failed on Python$failed"; exit 1; }
echo "passed on Python$tried"
