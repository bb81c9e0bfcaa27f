install_package
configure
smarthost
service start
alias=$(new_alias 3)

dpkg --remove tempalias
[ ! -e /usr/bin/tempalias ] || fail "the program is there"
is "its state" "$(property ActiveState)" inactive
for kept in /var/lib/tempalias/tempalias.db /etc/tempalias/tempalias.toml; do
    [ -s "$kept" ] || fail "$kept is gone"
done

install_package
service start
is "uses left" "$(uses_left "$alias")" 3

dpkg --purge tempalias
for gone in /usr/bin/tempalias /var/lib/tempalias /etc/tempalias /usr/share/doc/tempalias \
    /usr/lib/systemd/system/tempalias.service /etc/systemd/system/multi-user.target.wants/tempalias.service; do
    [ ! -e "$gone" ] && [ ! -L "$gone" ] || fail "$gone is there"
done
is "what dpkg knows" "$(dpkg-query -W -f '${Status}' tempalias 2>/dev/null || true)" ""

# And after all that it can come again.
install_package
is "the configuration" "$(stat -c '%a %U:%G' /etc/tempalias/tempalias.toml)" "640 root:tempalias"
