# Second stage of a guest, its first process from now on: runs the lab's server and powers off when it returns.
# The shell stays in between because the first process must collect every orphan, which the server would confuse
# with its own commands.
. /run/lab/lab.conf
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
cd "$PROJECT"
# No site packages, no user's settings: the server starts faster and alike everywhere.
"$PYTHON" -E -s -S -m tests.lab.server > /dev/kmsg 2>&1 < /dev/null || echo "lab: the server failed: $?" > /dev/kmsg
/run/lab/busybox poweroff -f
