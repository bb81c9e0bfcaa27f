//! The proxies of docs/proxy.md, with the configurations that stand there.

use super::debian::boot;
use super::pages::block;

/// Runs `proxy`, which starts one on port 443, in front of the appliance.
#[track_caller]
fn behind(proxy: &str) {
    let http = block("proxy.md", "toml", "127.0.0.1:8080");
    let script = format!(
        r#"
install_package
configure
smarthost
sed -i '/^\[http\]/,$d' /etc/tempalias/tempalias.toml
cat >>/etc/tempalias/tempalias.toml <<'END'
{http}
create_interval = "1h"
END
systemctl start tempalias
{proxy}
eventually "the page is there" \
    page_is_there -sk --resolve alias.example.com:443:127.0.0.1 https://alias.example.com/ 2>/dev/null
ask() {{ # CLIENT: from an address of the loopback network, and lying about it
    curl -sk --max-time 20 --interface "$1" --resolve alias.example.com:443:127.0.0.1 -o said -w '%{{http_code}}' \
        -H 'X-Forwarded-For: 198.51.100.7' -H 'Forwarded: for=198.51.100.8' -H 'Content-Type: application/json' \
        -d '{{"target":"you@example.net","max-usage":1}}' https://alias.example.com/aliases
}}
# Each client has a measure of its own, and no lie makes it another client.
is "the first" "$(ask 127.0.0.2)" 201
for _ in 1 2; do ask 127.0.0.2 >/dev/null; done
is "one too many" "$(ask 127.0.0.2)" 429
is "another client" "$(ask 127.0.0.3)" 201
"#
    );
    boot("behind a proxy", &script, &["0.1.0-1"]);
}

#[test]
fn behind_nginx_as_documented_clients_are_told_apart() {
    let site = block("proxy.md", "nginx", "proxy_pass");
    behind(&format!(
        r#"
live=/etc/letsencrypt/live/alias.example.com
mkdir -p "$live"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=alias.example.com \
    -keyout "$live/privkey.pem" -out "$live/fullchain.pem" 2>/dev/null
cat >/etc/nginx/conf.d/tempalias.conf <<'END'
{site}
END
systemctl start nginx
"#
    ));
}

#[test]
fn behind_caddy_as_documented_clients_are_told_apart() {
    let site = block("proxy.md", "caddy", "reverse_proxy");
    // There is nobody here who would certify our name.
    behind(&format!(
        "cat >/etc/caddy/Caddyfile <<'END'\n{{\n\tlocal_certs\n\tskip_install_trust\n}}\n{site}\nEND\nsystemctl start caddy\n"
    ));
}
