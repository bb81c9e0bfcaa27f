//! The proxies of docs/proxy.md, with the configurations that stand there.

use super::debian::boot;
use super::pages::block;

/// Runs `proxy`, which starts one on port 443, in front of the appliance with the configuration `http`.
#[track_caller]
fn behind(http: &str, proxy: &str) {
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
{proxy}
systemctl start tempalias
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

/// As in the document.
fn on_a_port() -> String {
    block("proxy.md", "toml", "127.0.0.1:8080")
}

/// Starts nginx with this `site`.
fn nginx(site: &str) -> String {
    format!(
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
    )
}

#[test]
#[ignore = "needs root"]
fn behind_nginx_as_documented_clients_are_told_apart() {
    behind(&on_a_port(), &nginx(&block("proxy.md", "nginx", "proxy_pass")));
}

#[test]
#[ignore = "needs root"]
fn a_socket_in_a_directory_of_the_proxys_is_for_the_proxy_alone() {
    let http = block("proxy.md", "toml", "/run/tempalias-proxy/http.sock");
    let site = block("proxy.md", "nginx", "proxy_pass")
        .replace("http://127.0.0.1:8080", "http://unix:/run/tempalias-proxy/http.sock");
    let (directory, drop_in) =
        (block("proxy.md", "sh", "tmpfiles"), block("proxy.md", "ini", "ReadWritePaths"));
    let nginx = nginx(&site);
    let proxy = format!(
        r#"
systemctl stop tempalias
{directory}
mkdir /etc/systemd/system/tempalias.service.d
cat >/etc/systemd/system/tempalias.service.d/override.conf <<'END'
{drop_in}
END
systemctl daemon-reload
systemctl start tempalias
{nginx}
healthy() {{ # USER
    runuser -u "$1" -- curl -sSf --unix-socket /run/tempalias-proxy/http.sock http://localhost/healthz
}}
only_for_the_proxy() {{
    is "what the proxy sees" "$(healthy www-data)" ok
    healthy you 2>said && fail "anybody may be a proxy"
    grep -q "Couldn't connect\|Failed to connect" said || fail "$(cat said)"
}}
only_for_the_proxy
is "the socket" "$(stat -c '%A %U %G' /run/tempalias-proxy/http.sock)" "srw-rw---- tempalias www-data"
systemctl reload tempalias
only_for_the_proxy
systemctl restart tempalias
only_for_the_proxy
"#
    );
    behind(&http, &proxy);
}

#[test]
#[ignore = "needs root"]
fn behind_caddy_as_documented_clients_are_told_apart() {
    let site = block("proxy.md", "caddy", "reverse_proxy");
    // There is nobody here who would certify our name.
    let caddy = format!(
        "cat >/etc/caddy/Caddyfile <<'END'\n{{\n\tlocal_certs\n\tskip_install_trust\n}}\n{site}\nEND\nsystemctl start caddy\n"
    );
    behind(&on_a_port(), &caddy);
}
