# Run a command as an ordinary user with a range of subordinate uids: `sh ranger.sh UID FIRST COMMAND...`.
# The account and its range are files of a mount namespace of its own, and nowhere else.
set -e
if [ "$1" != inside ]; then
    exec unshare --mount sh "$0" inside "$@"
fi
uid=$2 first=$3
shift 3
files=$(mktemp -d)
mount -t tmpfs none "$files"
cp /etc/passwd "$files/passwd"
echo "ranger:x:$uid:$uid::/nonexistent:/bin/sh" >> "$files/passwd"
echo "ranger:$first:65536" | tee "$files/subuid" > "$files/subgid"
for name in passwd subuid subgid; do
    [ -e "/etc/$name" ] || : > "/etc/$name"
    mount --bind "$files/$name" "/etc/$name"
done
umount -l "$files"
rmdir "$files"
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
