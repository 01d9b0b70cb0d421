# shellcheck shell=sh
# Sourced by tools that must work on a fresh machine. Sets PYTHON, and installs Python if there is none.
# Debian's own interpreter is preferred: dom0 runs runx with it.
PYTHON=/usr/bin/python3
if ! [ -x "$PYTHON" ]; then
	PYTHON=$(command -v python3) || PYTHON=
fi
if [ -z "$PYTHON" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
		echo "$0: python3 is missing: install it (Debian: apt-get install python3)" >&2
		exit 1
	fi
	echo "installing python3: runx and its tools are written in it (this waits for another apt, if one is at work)"
	# Another apt may be at work, such as the machine's own updates: wait for it, ten minutes at most.
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 update -q > /dev/null
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -q -y --no-install-recommends python3 > /dev/null
	PYTHON=/usr/bin/python3
fi
