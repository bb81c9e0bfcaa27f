install_package
postconf -MX smtp/inet
systemctl restart postfix
port_is_free() { ! try_port 25; }
eventually "port 25 is free" port_is_free

# Sockets without a configuration: they are opened, and the service ends.
with_sockets || is "the exit code under systemd" "$(property ExecMainStatus)" 78
socket() { systemctl show --property "$2" --value "tempalias-$1.socket"; }
for name in smtp http; do is "the $name socket" "$(socket "$name" SubState)" listening; done

# Who connects is turned away after a few tries, and the port is closed.
starts() { journalctl -u tempalias -o cat | grep -c 'required, but missing'; }
before=$(starts)
read -r -t 20 greeting <>/dev/tcp/127.0.0.1/25 && fail "it said $greeting"
has_given_up() { [ "$(socket smtp Result)" = trigger-limit-hit ]; }
eventually "the socket gives up" has_given_up
[ $(($(starts) - before)) -le 12 ] || fail "it was started $(starts) times"
try_port 25 && fail "somebody still listens"
is "its state" "$(property ActiveState)" failed
is "the other socket" "$(socket http SubState)" listening

# What the operator does then, as the configuration says at its top, opens it again.
configure
smarthost
service restart
for name in smtp http; do is "the $name socket" "$(socket "$name" SubState)" running; done
alias=$(new_alias 1)
mail_to "$alias" configured
eventually "the message is there" has_arrived configured
page_is_there || fail "no page"
