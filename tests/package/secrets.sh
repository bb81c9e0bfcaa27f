install_package
configure
set_key postmaster '"you@example.net"' # whom the relay knows

# relay.example.net, with TLS, and a password for each customer: an authority of its own is all it lacks.
world
echo '127.0.0.3 relay.example.net' >>/etc/hosts
ec() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" "${@:2}" 2>/dev/null; }
ec authority -x509 -days 2 -out authority.crt
ec relay.example.net -out relay.csr
openssl x509 -req -in relay.csr -CA authority.crt -CAkey authority.key -CAcreateserial -days 2 \
    -extfile <(echo subjectAltName=DNS:relay.example.net) -out relay.crt 2>/dev/null
cp authority.crt /usr/local/share/ca-certificates/
update-ca-certificates >/dev/null
postconf -e "smtpd_tls_cert_file = $PWD/relay.crt" "smtpd_tls_key_file = $PWD/relay.example.net.key" \
    'smtpd_tls_security_level = encrypt' 'smtpd_sasl_auth_enable = yes' 'smtpd_sasl_local_domain = relay' \
    'smtpd_relay_restrictions = permit_sasl_authenticated, reject'
printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n' >/etc/postfix/sasl/smtpd.conf
admit() { printf %s "$1" | saslpasswd2 -c -p -u relay mx.example.com && chgrp postfix /etc/sasldb2 && chmod 640 /etc/sasldb2; }
postconf -MX smtp/inet
postconf -Me '127.0.0.3:587/inet=127.0.0.3:587 inet n - n - - smtpd'
systemctl restart postfix
relay_is_there() { (: <>/dev/tcp/127.0.0.3/587) 2>/dev/null; }
eventually "the relay listens" relay_is_there

# As docs/install.md says, with the password for standard input.
admit 'first secret'
. /test/keep <<<'first secret'
sed -i '/^\[smarthost\]/,/^$/d' /etc/tempalias/tempalias.toml
cat /test/relay.toml >>/etc/tempalias/tempalias.toml
service start
alias=$(new_alias 4)
mail_to "$alias" file
eventually "the message is there" has_arrived file
grep -q 'sasl_username=mx.example.com' <(journalctl -t postfix/smtpd) || fail "it said no password"

# A new password, and a reload.
admit 'second secret'
. /test/keep <<<'second secret'
systemctl reload tempalias
reloaded() { journalctl -u tempalias -o cat | grep -q 'configuration reloaded'; }
eventually "it reads the password again" reloaded
mail_to "$alias" reloaded
eventually "the message is there" has_arrived reloaded

# Root alone can read it, and systemd hands it over.
chown root:root /etc/tempalias/smarthost-password
chmod 0600 /etc/tempalias/smarthost-password
runuser -u tempalias -- cat /etc/tempalias/smarthost-password 2>/dev/null && fail "the service can read the file"
mkdir -p /etc/systemd/system/tempalias.service.d
cp credential.conf /etc/systemd/system/tempalias.service.d/override.conf
systemctl daemon-reload
set_key password_file "$(sed -n 's/^password_file = //p' credential.toml)"
service restart
mail_to "$alias" credential
eventually "the message is there" has_arrived credential
# Also without any capability, where it sees no other users.
with_sockets
mail_to "$alias" handed
eventually "the message is there" has_arrived handed
is "uses left" "$(uses_left "$alias")" 0
journalctl -u tempalias -o cat | grep -F 'secret' && fail "a password is in the log"

# As `check` advises, who cannot see the credential.
tempalias check --json >said || fail "$(cat said)"
grep -q 'systemd-run --pipe -p User=tempalias -p LoadCredential=' said || fail "no advice: $(cat said)"
systemd-run --quiet --pipe -p User=tempalias -p "$(grep ^LoadCredential= credential.conf)" tempalias check >said ||
    fail "$(cat said)"
grep -Eq 'ok +smarthost +relay.example.net:587: accepts our envelope' said || fail "$(cat said)"
