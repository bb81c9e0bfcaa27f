install_package
configure
smarthost

# certbot's part: the files, and the variable.
export RENEWED_LINEAGE=/etc/letsencrypt/live/mx.example.com
umask 077
renew() { # NAME
    mkdir -p "$RENEWED_LINEAGE"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$RENEWED_LINEAGE/privkey.pem" -out "$RENEWED_LINEAGE/fullchain.pem" 2>/dev/null
}
shown() { # PORT OPTION…: the name in the certificate
    openssl s_client -connect "127.0.0.1:$1" "${@:2}" </dev/null 2>/dev/null | openssl x509 -noout -subject | sed 's/.*CN *= *//'
}
show() { [ "$(shown 25 -starttls smtp)" = "$1" ] && [ "$(shown 443)" = "$1" ]; }
install -D -m 0755 hook /etc/letsencrypt/renewal-hooks/deploy/tempalias
hook() { sh -eu /etc/letsencrypt/renewal-hooks/deploy/tempalias; }

# As docs/install.md and docs/proxy.md say.
renew first
hook
sed -i '/^\[http\]/,$d' /etc/tempalias/tempalias.toml
cat smtp.toml http.toml >>/etc/tempalias/tempalias.toml
service start
show first || fail "the first one is not shown"
is "who may read the key" "$(stat -c '%a %U:%G' /etc/tempalias/privkey.pem)" "640 root:tempalias"

# A new one is shown after a reload …
pid=$(property MainPID)
renew second
hook
systemctl reload tempalias
eventually "the second one is shown" show second
# … and without one, too.
renew third
hook
eventually "the third one is shown" show third
is "the process" "$(property MainPID)" "$pid"

# One that the service cannot read does not replace it.
renew fourth
install -m 0600 -o root -g root "$RENEWED_LINEAGE/privkey.pem" /etc/tempalias/privkey.pem
systemctl reload tempalias
complains() { journalctl -u tempalias -o cat | grep -q 'the old one stays in use'; }
eventually "it complains" complains
show third || fail "the third one is gone"
