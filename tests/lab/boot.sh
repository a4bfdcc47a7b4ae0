# Second stage of a guest, its first process from now on: runs the lab's server and powers off when it returns.
# The shell stays in between because the first process must collect every orphan, which the server would confuse
# with its own commands.
. /run/lab/lab.conf
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
cd /
"$PYTHON" -I -S "$AGENT" > /dev/kmsg 2>&1 < /dev/null || echo "lab: the server failed: $?" > /dev/kmsg
/run/lab/busybox poweroff -f
