# Makes the root of a Debian 12 in $machine and runs commands in it; read by run and vm.

mirror() { # where this host's apt gets Debian from
    apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Codename: bookworm' | sort -u | head -n 1
}

make_machine() { # makes it, unless it is there
    [ ! -e "$machine/etc/debian_version" ] || return 0
    echo "fresh: debootstrap into $machine" >&2
    debootstrap --variant=minbase bookworm "$machine" "$(mirror)" >"$machine.log" 2>&1 ||
        { tail -n 20 "$machine.log" >&2; exit 1; }
    rm -f "$machine.log"
}

let_it_reach() { # how this host reaches apt's mirror and pip's index; nothing else of it comes in
    local file
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
        [ ! -e "$file" ] || install -D -m 644 "$file" "$machine$file"
    done
    install -m 644 /etc/ssl/certs/ca-certificates.crt "$machine/etc/host-ca.crt"
    cp -a /etc/apt/apt.conf.d/. "$machine/etc/apt/apt.conf.d/"
}

inside() { # USER HOME COMMAND...: in namespaces of its own; nothing of it is left when it ends
    local user=$1 home=$2
    shift 2
    # shellcheck disable=SC2016
    unshare --mount --pid --ipc --uts --fork --kill-child --propagation private bash -c '
        set -e
        machine=$1 user=$2 home=$3
        shift 3
        hostname fresh
        mount --bind "$machine" "$machine"
        mount -t proc proc "$machine/proc"
        mount --rbind /sys "$machine/sys"
        mount --rbind /dev "$machine/dev"
        mount -t tmpfs -o mode=755 run "$machine/run"
        mount -t tmpfs -o mode=1777 tmp "$machine/tmp"
        cd "$machine"
        pivot_root . mnt # a real root: in a mere chroot no sandbox can be built
        umount -l /mnt
        exec chroot --userspec="$user" / env -i HOME="$home" TERM=dumb LANG=C.UTF-8 \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            PIP_CERT=/etc/host-ca.crt \
            $(env | grep -iE "^(PIP_(INDEX_URL|PROXY|TIMEOUT)|https?_proxy|no_proxy)=" || true) "$@"
    ' inside "$machine" "$user" "$home" "$@"
}

clone() { # USER HOME
    rm -rf "$machine$2/checkout"
    git clone -q --no-hardlinks . "$machine$2/checkout"
    chown -R "$1" "$machine$2/checkout"
}
