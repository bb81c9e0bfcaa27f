//! Page and API at the listeners of the configuration, HTTPS and a Unix socket; and the limits of
//! connections.

use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::network::isolated;
use crate::support::program::{is_root, run, said, succeed};
use crate::support::smarthost::Smarthost;
use crate::support::wait;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

const NAME: &str = "mx.alias.test";

/// A certificate that signs itself, and its key; what is there is replaced.
fn write_certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
}

#[test]
fn with_certificate_files_the_page_is_there_by_https_only() {
    let dir = TempDir::new().unwrap();
    write_certificate(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let smarthost = Smarthost::start();
    let settings = [("http.tls_cert", format!("{cert:?}")), ("http.tls_key", format!("{key:?}"))];
    let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
    let mut appliance = Appliance::start_with(smarthost.address(), &settings);

    let port = appliance.http.port();
    let url = format!("https://{NAME}:{port}/");
    let resolve = format!("{NAME}:{port}:127.0.0.1");
    let arguments = ["-sS", "-i", "--cacert", cert.to_str().unwrap(), "--resolve", &resolve, &url];
    let page = succeed("curl", arguments, b"");
    assert!(page.contains("strict-transport-security: ") && page.contains("<h1"), "{page}");
    let plain = run("curl", ["-sS", &format!("http://127.0.0.1:{port}/")], b"");
    assert!(!plain.status.success(), "{}", said(&plain));
    assert!(appliance.stop().success());
}

#[test]
fn the_unix_socket_is_there_again_after_a_crash() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("http.sock");
    let smarthost = Smarthost::start();
    let setting = format!("{socket:?}");
    let mut appliance = Appliance::start_with(smarthost.address(), &[("http.socket", &setting)]);
    let ask = || {
        let arguments = ["-sS", "--unix-socket", socket.to_str().unwrap(), "http://localhost/healthz"];
        succeed("curl", arguments, b"")
    };
    assert_eq!(ask(), "ok\n");
    appliance.kill();
    appliance.restart();
    assert_eq!(ask(), "ok\n");
    assert!(appliance.stop().success());
}

#[test]
fn the_unix_socket_is_for_our_user_and_the_group_of_its_directory() {
    let dir = TempDir::new().unwrap();
    let group = is_root().then_some(54_321);
    chown(dir.path(), None, group).unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o2750)).unwrap();
    let socket = dir.path().join("http.sock");
    let setting = format!("{socket:?}");
    let _appliance = Appliance::start_with(Smarthost::start().address(), &[("http.socket", &setting)]);
    let (file, dir) = (std::fs::metadata(&socket).unwrap(), std::fs::metadata(dir.path()).unwrap());
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (0o660, dir.uid(), dir.gid()));
}

/// This host, at another of its addresses.
fn here(n: u8) -> IpAddr {
    [127, 0, 0, n].into()
}

/// Another host, in a network of the test's own.
fn elsewhere(n: u8) -> IpAddr {
    [203, 0, 113, n].into()
}

/// A connection to `server` from `client`.
fn connect_from(client: IpAddr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    socket.into()
}

/// The answer to `client` for `path`; empty when the connection is closed without one.
fn get(path: &str, client: IpAddr, server: SocketAddr) -> String {
    let mut stream = connect_from(client, server);
    let mut answer = String::new();
    // The server may close it before the request is sent.
    let sent =
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    if let Err(cause) = sent.and_then(|()| stream.read_to_string(&mut answer)) {
        let is_closed = matches!(cause.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        assert!(is_closed, "{cause}");
    }
    answer
}

/// Whether `client` is shown the page.
fn is_served(client: IpAddr, server: SocketAddr) -> bool {
    get("/", client, server).starts_with("HTTP/1.1 200 ")
}

fn crowd(client: IpAddr, server: SocketAddr, size: usize) -> Vec<TcpStream> {
    (0..size).map(|_| connect_from(client, server)).collect()
}

#[test]
fn one_client_cannot_take_the_web_from_others() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let crowd = crowd(here(2), appliance.http, 60);
    wait::until("the crowd is let in as far as it may", || {
        (!is_served(here(2), appliance.http)).then_some(())
    });
    assert!(is_served(here(3), appliance.http));
    Client::connect(appliance.smtp).expect("220");
    drop(crowd);
    wait::until("the crowd is gone", || is_served(here(2), appliance.http).then_some(()));
}

#[test]
#[ignore = "needs root"]
fn a_crowd_on_the_web_leaves_the_mx_alone_and_is_logged_once() {
    let test = "a_crowd_on_the_web_leaves_the_mx_alone_and_is_logged_once";
    if !isolated(test, &["203.0.113.0/24"]) {
        return;
    }
    let smarthost = Smarthost::start();
    let settings = [("http.max_connections", "60")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let before = appliance.sockets();
    let crowds = [2, 3, 4].map(|host| crowd(elsewhere(host), appliance.http, 50));
    wait::until("all permits are taken", || (!is_served(elsewhere(5), appliance.http)).then_some(()));
    assert!(appliance.sockets() <= before + 60, "{} and then {}", before, appliance.sockets());
    Client::connect(appliance.smtp).expect("220");
    // Permits are reserved for this host alone.
    assert_eq!(get("/healthz", elsewhere(5), appliance.http), "");
    assert_eq!(appliance.logged("all of http.max_connections are taken"), 1);
    assert!(get("/healthz", here(1), appliance.http).starts_with("HTTP/1.1 200 "));
    drop(crowds);
    wait::until("the crowd is gone", || is_served(elsewhere(5), appliance.http).then_some(()));
}

#[test]
fn health_checks_are_answered_while_others_hold_all_connections() {
    let dir = TempDir::new().unwrap();
    write_certificate(dir.path());
    let quoted = |name: &str| format!("{:?}", dir.path().join(name));
    let (socket, cert, key) = (quoted("http.sock"), quoted("cert.pem"), quoted("key.pem"));
    let smarthost = Smarthost::start();
    let listeners: [&[(&str, &str)]; 3] =
        [&[], &[("http.tls_cert", &cert), ("http.tls_key", &key)], &[("http.socket", &socket)]];
    for listener in listeners {
        let settings = [&[("http.max_connections", "60")], listener].concat();
        let appliance = Appliance::start_with(smarthost.address(), &settings);
        let before = appliance.sockets();
        // The server chose its ports itself.
        let listen = [("SMTP", appliance.smtp), ("HTTP", appliance.http)];
        let listen = listen.map(|(name, at)| (format!("TEMPALIAS_{name}__LISTEN"), at.to_string()));
        let listen = listen.each_ref().map(|(name, at)| (name.as_str(), at.as_str()));
        // More than all permits, including the reserved ones; and some that nobody waits for.
        let _crowds = [1, 2, 3, 4, 5].map(|host| crowd(here(host), appliance.http, 50));
        let health = appliance.run_with(&["health"], &listen);
        assert!(health.status.success(), "{}", said(&health));
        if listener.is_empty() {
            for path in ["/healthz", "/readyz"] {
                let answer = get(path, here(1), appliance.http);
                assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
            }
            let other = get("/", here(1), appliance.http);
            assert!(other.starts_with("HTTP/1.1 503 ") && other.contains("\r\nretry-after: "), "{other}");
        }
        wait::until("the excess connections are gone", || {
            (appliance.sockets() <= before + 60 + 32).then_some(())
        });
    }
}

#[test]
fn a_proxy_is_not_a_client() {
    let smarthost = Smarthost::start();
    let settings = [("http.max_connections_per_ip", "2"), ("http.trusted_proxies", "[\"127.0.0.2\"]")];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let _through_a_proxy = crowd(here(2), appliance.http, 20);
    let _by_themselves = crowd(here(3), appliance.http, 3);
    wait::until("those of a client are taken", || (!is_served(here(3), appliance.http)).then_some(()));
    assert!(is_served(here(2), appliance.http));

    appliance.configure(&[settings[0], ("http.trusted_proxies", "[\"127.0.0.3\"]")]);
    appliance.hang_up();
    wait::until_equal("reloads", 1, || appliance.logged("configuration reloaded"));
    assert!(is_served(here(3), appliance.http), "it is a proxy now");
    let _by_itself = crowd(here(2), appliance.http, 3);
    wait::until("it is a client now", || (!is_served(here(2), appliance.http)).then_some(()));
}
