# Runs a command in another root directory, in a mount namespace of its own (`unshare --mount`), so that nothing stays
# mounted. Arguments: the root; how many directories to mount in it at their own paths; those directories; the working
# directory; the command.
set -e
root=$1 count=$2
shift 2
mount -t proc proc "$root/proc"
for file in null urandom; do
    touch "$root/dev/$file"
    mount --bind "/dev/$file" "$root/dev/$file"
done
while [ "$count" -gt 0 ]; do
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    shift
    count=$((count - 1))
done
exec chroot "$root" /usr/bin/env PATH=/usr/libexec/swift/bin:/usr/bin:/bin HOME=/root \
    bash -c 'cd "$0" && exec "$@"' "$@"
