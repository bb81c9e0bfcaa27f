install_package
configure
smarthost
# As docs/install.md says; there is no DNS here, and 127.0.0.2 is an address of this host that is not
# Postfix's.
postconf -e 'transport_maps = inline:{example.com=smtp:[127.0.0.2]:25}'
# A mailbox that shows only after the smarthost has taken the message that it is none (EX_NOUSER).
echo 'you: "|exit 67"' >>/etc/aliases
postalias /etc/aliases
systemctl restart postfix
smarthost_is_ready
service start

alias=$(new_alias 3)
mail_to "$alias" gone
bounces() {
    runuser -u tempalias -- tempalias alias show "${alias%@*}" --json | sed -n 's/.*"bounces": *\([0-9]*\).*/\1/p'
}
noted() { [ "$(bounces)" = 1 ]; }
eventually "the bounce came back to us" noted
# Nobody has got the message: it cost nothing.
is "uses left" "$(uses_left "$alias")" 3
