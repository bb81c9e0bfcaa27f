install_package
configure
smarthost
with_sockets

backup=/var/backups/tempalias.db # as in the document
alias=$(new_alias 3)
tempalias backup "$backup"
mail_to "$alias" since
eventually "the message is there" has_arrived since

# While it serves nothing can be restored.
tempalias restore "$backup" 2>said && fail "restored under a running server"
grep -qw "$(property MainPID)" said || fail "who is in the way: $(cat said)"

# As docs/backup.md has it, where systemd holds the sockets.
. /test/restore
is "uses left" "$(uses_left "$alias")" 2
mail_to "$alias" restored
eventually "the message is there" has_arrived restored
is "uses left" "$(uses_left "$alias")" 1

# Whoever forgets the sockets is none the worse. A client in the middle of a restore …
in_the_middle() {
    local i
    for ((i = 0; i < 50; i++)); do
        tempalias restore "$backup" >said 2>&1 &
        restore=$!
        until [ -e /var/lib/tempalias/tempalias.db.part ] || ! kill -0 "$restore" 2>/dev/null; do :; done
        kill -STOP "$restore" 2>/dev/null || { wait "$restore"; continue; }
        is_held() { [[ $(sed 's/.*) //' "/proc/$restore/stat") == [TZ]* ]]; }
        eventually "the restore is held" is_held
        [ ! -e /var/lib/tempalias/tempalias.db.part ] || return 0
        kill -CONT "$restore"
        wait "$restore"
    done
    fail "no restore could be held in its middle"
}
systemctl stop tempalias
in_the_middle
read -r -t 60 greeting <>/dev/tcp/127.0.0.1/25 && echo "$greeting" >greeting &
client=$!
# … makes the service try, in vain, until the restore is done …
tried_again() { [ "$(property NRestarts)" -ge 6 ]; }
eventually "the service tries again and again" tried_again
journalctl -u tempalias -o cat | grep -qw "$restore" || fail "who is in its way is not said"
[ ! -e greeting ] || fail "it serves a ledger that is being restored"
is "the socket" "$(systemctl show --property Result --value tempalias-smtp.socket)" success
kill -CONT "$restore"
wait "$restore" || fail "no restore: $(cat said)"
# … and is served by what was restored.
wait "$client"
[[ $(cat greeting) == "220 "* ]] || fail "$(cat greeting)"
is "uses left" "$(uses_left "$alias")" 1
