# What the scripts in this directory share. They run in bash -eu, in /test, as root.
set -o pipefail -o errtrace
trap 'echo "line $LINENO: $BASH_COMMAND" >&2; journalctl -u tempalias -o cat -n 20 >&2' ERR

fail() { echo "FAILED: $*" >&2; exit 1; }
# is WHAT GOT WANTED
is() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }
# eventually WHAT COMMAND…: bounded
eventually() {
    local what=$1 i; shift
    for ((i = 0; i < 1000; i++)); do "$@" && return; sleep 0.05; done
    fail "still not so: $what"
}
# Not there, for we are root.
sudo() { if [ "$1" = -u ]; then runuser -u "$2" -- "${@:3}"; else "$@"; fi; }
property() { systemctl show --property "$1" --value tempalias.service; }

# service start|restart: also where the kernel has not let the new process into its control group, and the program
# has not even begun (status 219/CGROUP, systemd.exec(5)): then systemd tries again by itself, in seconds.
service() {
    systemctl "$1" tempalias && return
    [ "$(property ExecMainStatus)" = 219 ] || { systemctl status tempalias >&2; fail "it does not $1"; }
    eventually "systemd has started it again" is_active
}
is_active() { [ "$(property ActiveState)" = active ]; }

install_package() { dpkg -i "tempalias_${1:-0.1.0-1}_amd64.deb"; }

# As it says at its top.
with_sockets() {
    sed -n 's/^#   //p' /usr/share/doc/tempalias/sockets.conf >commands
    cd /usr/share/doc/tempalias
    . /test/commands
    cd /test
}

# set_key KEY VALUE: what an editor would do.
set_key() {
    grep -Eq "^#?$1 = " /etc/tempalias/tempalias.toml || fail "no line for $1"
    sed -Ei "s|^#?$1 = .*|$1 = $2|" /etc/tempalias/tempalias.toml
}

configure() {
    set_key hostname '"mx.example.com"'
    set_key domains '["example.com"]'
    set_key postmaster '"admin@example.net"'
    set_key host '"127.0.0.1"'
    set_key port 10025
}

# The world behind the smarthost: the mailbox of you@example.net, in /var/mail/you.
world() {
    id you >/dev/null 2>&1 || useradd you
    postconf -e 'mydestination = example.net' 'inet_protocols = ipv4' 'smtpd_tls_security_level = none'
}

smarthost() {
    world
    postconf -MX smtp/inet
    postconf -Me '127.0.0.1:10025/inet=127.0.0.1:10025 inet n - y - - smtpd'
    systemctl restart postfix
    smarthost_is_ready
}

# `systemctl restart postfix` does not wait for Postfix.
smarthost_is_ready() { eventually "the smarthost listens" try_port 10025; }
try_port() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

new_alias() { # USES
    runuser -u tempalias -- tempalias alias add --target you@example.net --max-usage "$1" --json |
        sed -n 's/.*"email": *"\([^"]*\)".*/\1/p'
}

uses_left() { # EMAIL
    runuser -u tempalias -- tempalias alias show "${1%@*}" --json |
        sed -n 's/.*"usage_left": *\([0-9]*\).*/\1/p'
}

mail_to() { # EMAIL SUBJECT
    printf 'From: shop@example.org\r\nTo: %s\r\nSubject: %s\r\n\r\nHello!\r\n' "$1" "$2" |
        curl -sS --max-time 20 smtp://127.0.0.1:25 --mail-from shop@example.org --mail-rcpt "$1" --upload-file -
}

has_arrived() { grep -qs "^Subject: $1" /var/mail/you; }

# The page, by way of curl with these arguments. (grep -q would hang up on curl.)
page_is_there() { [[ $(curl -sSf --max-time 20 "${@:-http://127.0.0.1:8080/}") == *'<form'* ]]; }
