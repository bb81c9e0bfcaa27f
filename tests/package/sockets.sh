install_package
configure
smarthost
# One client does all that follows.
printf '[smtp]\nconnections_per_minute = 0\n' >>/etc/tempalias/tempalias.toml
with_sockets

is "its state" "$(property ActiveState)" active
status=/proc/$(property MainPID)/status
for set in Prm Eff Bnd Amb; do
    grep -q "^Cap$set:	0000000000000000$" "$status" || fail "it has a capability: $(grep Cap "$status")"
done
alias=$(new_alias 1)
mail_to "$alias" handed
eventually "the message is there" has_arrived handed
page_is_there || fail "no page"

# Connections made while it is away wait for it.
systemctl stop tempalias
curl -sSf --max-time 20 http://127.0.0.1:8080/healthz >/dev/null || fail "the socket did not start it"
is "its state" "$(property ActiveState)" active
systemctl stop tempalias
read -r -t 20 greeting <>/dev/tcp/127.0.0.1/25 || fail "no greeting"
[[ $greeting == "220 "* ]] || fail "'$greeting' is no greeting"

# Restarts under the hands of clients: each of them is answered, by the old one or by the new one.
until_enough() { # WHAT COMMAND…
    local what=$1; shift
    until [ -e enough ]; do
        "$@" || fail "$what, after $(answered "$what"): a connection was not answered"
        echo >>"answered-$what"
    done
}
is_greeted() { # 421 4.3.2: come again, to a session that the old one has just taken
    local greeting=
    read -r -t 20 greeting <>/dev/tcp/127.0.0.1/25 || return
    [[ $greeting == "220 "* || $greeting == "421 4.3.2 "* ]] || { echo "$greeting" >&2; return 1; }
}
finds_page() { curl -sSf --max-time 20 -o /dev/null http://127.0.0.1:8080/; }
touch answered-smtp answered-http
answered() { stat -c %s "answered-$1"; }
goes_on() { [ "$(answered "$1")" -gt "$2" ]; }
until_enough smtp is_greeted &
smtp=$!
until_enough http finds_page &
http=$!
for restart in 1 2 3 4; do
    for what in smtp http; do
        eventually "$what goes on before restart $restart" goes_on "$what" "$(answered "$what")"
    done
    before=$(property MainPID)
    service restart
    [ "$(property MainPID)" != "$before" ] || fail "no restart"
done
touch enough
wait "$smtp"
wait "$http"

# The sockets go with the package, and do not come back.
dpkg --purge tempalias
try_port 25 && fail "somebody still listens"
[ ! -L /etc/systemd/system/sockets.target.wants/tempalias-smtp.socket ] || fail "the socket would come back"
