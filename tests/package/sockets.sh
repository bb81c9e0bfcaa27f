install_package
configure
smarthost
# As it says at its top.
sed -n 's/^#   //p' /usr/share/doc/tempalias/sockets.conf >commands
cd /usr/share/doc/tempalias
. /test/commands

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

# The sockets go with the package, and do not come back.
cd /test
dpkg --purge tempalias
try_port 25 && fail "somebody still listens"
[ ! -L /etc/systemd/system/sockets.target.wants/tempalias-smtp.socket ] || fail "the socket would come back"
