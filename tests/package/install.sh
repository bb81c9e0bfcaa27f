install_package

# path mode owner:group
while read -r path mode owner; do
    is "$path" "$(stat -c '%a %U:%G' "$path")" "$mode $owner"
done <<END
/usr/bin/tempalias 755 root:root
/etc/tempalias/tempalias.toml 640 root:tempalias
/var/lib/tempalias 700 tempalias:tempalias
/usr/share/doc/tempalias/tempalias.toml 644 root:root
/usr/share/doc/tempalias/sockets.conf 644 root:root
/usr/share/doc/tempalias/backup.md 644 root:root
/usr/share/doc/tempalias/prometheus-alerts.yml 644 root:root
/usr/share/doc/tempalias/grafana-dashboard.json 644 root:root
/usr/share/man/man1/tempalias.1.gz 644 root:root
/usr/share/man/man5/tempalias.toml.5.gz 644 root:root
/usr/share/bash-completion/completions/tempalias 644 root:root
/usr/share/zsh/vendor-completions/_tempalias 644 root:root
/usr/share/fish/vendor_completions.d/tempalias.fish 644 root:root
/usr/lib/systemd/system/tempalias.service 644 root:root
/usr/lib/systemd/system/tempalias-smtp.socket 644 root:root
/usr/lib/systemd/system/tempalias-http.socket 644 root:root
END
is "the user's shell" "$(getent passwd tempalias | cut -d: -f7)" /usr/sbin/nologin

units="tempalias.service tempalias-smtp.socket tempalias-http.socket"
# shellcheck disable=SC2086 # several words
is "what is wrong with the units" "$(systemd-analyze verify --man=no $units 2>&1)" ""

# It starts at the next boot, and not before; the sockets are for who wants them.
is "the service" "$(systemctl is-enabled tempalias.service)" enabled
is "the service" "$(property ActiveState)" inactive
is "the sockets" "$(systemctl is-enabled tempalias-smtp.socket tempalias-http.socket || true)" "disabled
disabled"

# Nobody has said what only they can know: one sentence, 78, and no second try.
code=0
said=$(runuser -u tempalias -- tempalias serve 2>&1) || code=$?
is "the exit code" "$code" 78
is "the sentence" "$said" "tempalias: /etc/tempalias/tempalias.toml: hostname: required, but missing"
systemctl start tempalias && fail "it started"
is "the exit code under systemd" "$(property ExecMainStatus)" 78
is "its state" "$(property ActiveState)" failed
is "further tries" "$(property NRestarts)" 0

# The operator's changes stay when the package comes anew.
configure
chmod 0600 /etc/tempalias/tempalias.toml
before=$(sha256sum /etc/tempalias/tempalias.toml)
install_package
is "the configuration" "$(sha256sum /etc/tempalias/tempalias.toml)" "$before"
is "its mode" "$(stat -c %a /etc/tempalias/tempalias.toml)" 600
