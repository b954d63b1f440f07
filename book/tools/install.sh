# Make the virtual environment and install one extra of the package from the pins.
# Called by make: PYTHON=python3 VENV=.venv sh book/tools/install.sh lab
set -eu

needs() {
    echo "$1" >&2
    exit 1
}

command -v "$PYTHON" >/dev/null ||
    needs "Python 3.11 or newer is needed, but there is no $PYTHON: install it, or name yours: make lab PYTHON=/path/to/python3.12"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    needs "Python 3.11 or newer is needed, but $PYTHON is $("$PYTHON" -c 'import sys; print(sys.version.split()[0])'): name a newer one: make lab PYTHON=/path/to/python3.12"
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    needs "$PYTHON cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt-get install python3-venv)"

echo "Installing into $VENV: a few minutes the first time …"
"$PYTHON" -m venv "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$1]"
