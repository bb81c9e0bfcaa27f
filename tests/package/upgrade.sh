install_package
configure
smarthost
service start
alias=$(new_alias 3)
before=$(property MainPID)

say() { printf '%s\r\n' "$1" >&3; }
hear() {
    local line
    read -r -t 30 line <&3 || fail "no answer, $1 was expected"
    case $line in "$1"*) ;; *) fail "'$line' is not $1" ;; esac
}
exec 3<>/dev/tcp/127.0.0.1/25
hear 220
say 'HELO client.example.org'; hear 250
say 'MAIL FROM:<shop@example.org>'; hear 250
say "RCPT TO:<$alias>"; hear 250
say DATA; hear 354
say 'Subject: upgraded'
say ''

install_package 0.1.0-2 &
upgrade=$!
stopping() { [ "$(property StatusText)" = "finishing messages in flight" ]; }
eventually "the old one stops" stopping
say 'Hello!'
say .
hear '250 2.0.0'
hear '421 4.3.2'
wait "$upgrade"

is "the version" "$(dpkg-query -W -f '${Version}' tempalias)" 0.1.0-2
is "its state" "$(property ActiveState)" active
[ "$(property MainPID)" != "$before" ] || fail "the old one still runs"
eventually "the message is there" has_arrived upgraded
is "uses left" "$(uses_left "$alias")" 2
mail_to "$alias" afterwards
eventually "the message is there" has_arrived afterwards
is "uses left" "$(uses_left "$alias")" 1

# Who has stopped it does not want it started by an upgrade.
systemctl stop tempalias
install_package 0.1.0-2
is "its state" "$(property ActiveState)" inactive
