install_package
configure
smarthost
mkdir -p /etc/systemd/system/tempalias.service.d
printf '[Service]\nWatchdogSec=2s\nRestartSec=100ms\n' >/etc/systemd/system/tempalias.service.d/quick.conf
systemctl daemon-reload
service start
pid=$(property MainPID)

# It is fed more than once, with nothing else to do.
fed() { [ "$(property WatchdogTimestampMonotonic)" -gt "$1" ]; }
for _ in 1 2 3 4; do
    eventually "the watchdog is fed" fed "$(property WatchdogTimestampMonotonic)"
done
is "further starts" "$(property NRestarts)" 0

kill -STOP "$pid"
started_anew() { [ "$(property NRestarts)" -ge 1 ] && [ "$(property ActiveState)" = active ]; }
eventually "it is started anew" started_anew
alias=$(new_alias 1)
mail_to "$alias" again
eventually "the message is there" has_arrived again
