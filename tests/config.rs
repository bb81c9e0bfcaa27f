//! The configuration, mostly through `tempalias check`: what is good, what is broken, and the
//! one line that says why.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempalias::config::{self, Config, ConfigError, Smarthost};

const MINIMAL: &str = "
    hostname = 'mx.example.com'
    domains = ['example.com']
    postmaster = 'admin@example.net'
    [smarthost]
    host = 'relay.example.net'
";

/// The files of `tests/config/NAME`.
fn files(name: &str) -> Vec<PathBuf> {
    let dir = Path::new("tests/config").join(name);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn check(file: &Path, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tempalias"))
        .args(["check", "--offline", "--config"])
        .arg(file)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    config::parse("test.toml", text, variables.iter().map(|(name, value)| (name.into(), value.into())))
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    parse(text, variables).unwrap_err().to_string()
}

#[test]
fn every_broken_file_is_refused_with_one_line_that_names_file_key_and_reason() {
    for file in files("broken") {
        let text = std::fs::read_to_string(&file).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
        // `8: key: reason` has a line number, `key: reason` has none.
        let colon = if expected.starts_with(|c: char| c.is_ascii_digit()) { ":" } else { ": " };
        let output = check(&file, &[]);
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!(shown, format!("tempalias: {}{colon}{expected}\n", file.display()));
        assert_eq!(output.status.code(), Some(78), "{}", file.display());
        assert!(output.stdout.is_empty());
    }
}

/// The configuration that the README shows; tests/package does all of what it says.
#[test]
fn the_readme_leads_to_a_configuration_that_passes_its_check() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let (_, block) = readme.split_once("## Run it").unwrap().1.split_once("```toml\n").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tempalias.toml");
    std::fs::write(&file, block.split_once("```").unwrap().0).unwrap();
    let output = check(&file, &[("TEMPALIAS_DATA_DIR", dir.path().to_str().unwrap())]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_good_file_is_accepted() {
    for file in files("good") {
        let output = check(&file, &[]);
        // What is named in it need not be as it should on every machine.
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.contains("the configuration is good"), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_file_that_is_not_there_is_a_configuration_error() {
    let output = check(Path::new("/nowhere/tempalias.toml"), &[]);
    assert_eq!(output.status.code(), Some(78));
    let shown = String::from_utf8(output.stderr).unwrap();
    assert_eq!(shown, "tempalias: /nowhere/tempalias.toml: No such file or directory (os error 2)\n");
}

#[test]
fn the_example_holds_the_defaults() {
    let example = std::fs::read_to_string("packaging/tempalias.toml").unwrap();
    assert_eq!(parse(&example, &[]).unwrap(), parse(MINIMAL, &[]).unwrap());
}

#[test]
fn the_example_shows_every_key() {
    let example = std::fs::read_to_string("packaging/tempalias.toml").unwrap();
    let mut section = "";
    let mut shown = Vec::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            shown.push(section.to_owned());
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") {
            shown.push(format!("{section}.{key}").trim_start_matches('.').to_owned());
        }
    }
    for section in ["", "http", "smtp", "smarthost", "aliases", "dns", "metrics", "log"] {
        // The program itself says which keys it knows.
        let name = format!("TEMPALIAS_{section}__NONE").replace("___", "_").to_uppercase();
        let reason = refused(MINIMAL, &[(&name, "0")]);
        let (_, known) = reason.split_once("known here: ").unwrap();
        for key in known.split(", ") {
            let key = format!("{section}.{key}").trim_start_matches('.').to_owned();
            assert!(shown.contains(&key), "packaging/tempalias.toml lacks {key}");
        }
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = parse(
        MINIMAL,
        &[
            ("TEMPALIAS_HOSTNAME", "mail.example.org"),
            ("TEMPALIAS_DOMAINS", "example.org, example.info"),
            ("TEMPALIAS_HTTP__LISTEN", "[\"127.0.0.1:1\", \"[::1]:2\"]"),
            ("TEMPALIAS_SMTP__LISTEN", "127.0.0.1:3"),
            ("TEMPALIAS_SMTP__MAX_SIZE", "1 MiB"),
            ("TEMPALIAS_SMTP__MAX_MESSAGES", "7"),
            ("TEMPALIAS_SMARTHOST__HOST", "\"10.0.0.1\""),
            ("TEMPALIAS_ALIASES__PURGE_INTERVAL", "5m"),
            ("TEMPALIAS_ALIASES__FORBIDDEN_TARGETS", "corp.test, Jo@mail.test"),
            ("TEMPALIAS_LOG", "debug"),
            ("TEMP", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!(config.hostname.as_str(), "mail.example.org");
    assert_eq!(
        config.domains.iter().map(|d| d.as_str()).collect::<Vec<_>>(),
        ["example.org", "example.info"]
    );
    assert_eq!(config.http.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
    assert_eq!(config.smtp.listen, ["127.0.0.1:3".parse().unwrap()]);
    assert_eq!((config.smtp.max_size, config.smtp.max_messages), (1 << 20, 7));
    assert_eq!(config.smarthost.host, "10.0.0.1");
    assert_eq!(config.aliases.purge_interval.as_secs(), 300);
    assert_eq!(
        config.aliases.forbidden_targets,
        ["corp.test", "jo@mail.test"].map(|target| target.replace("jo", "Jo").parse().unwrap())
    );
}

#[test]
fn the_environment_alone_is_enough() {
    let variables = [
        ("TEMPALIAS_HOSTNAME", "mx.example.com"),
        ("TEMPALIAS_DOMAINS", "example.com"),
        ("TEMPALIAS_POSTMASTER", "admin@example.net"),
        ("TEMPALIAS_SMARTHOST__HOST", "relay.example.net"),
    ];
    assert_eq!(parse("", &variables), parse(MINIMAL, &[]));
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    for (variable, reason) in [
        (("TEMPALIAS_SMTP__MAX_SIZE", "big"), "\"big\": not a size like \"25 MiB\" or a number of octets"),
        (("TEMPALIAS_HTTP__LISTEN", "8080"), "expected a list of strings"),
        (
            ("TEMPALIAS_SMTP__LISTEN", ""),
            "\"\": not an address with a port, like 127.0.0.1:8080 or [::1]:8080",
        ),
        (
            ("TEMPALIAS_POSTMASTER", "x@example.com"),
            "must be outside our own domains: its mail would come back to us",
        ),
        (
            ("TEMPALIAS_ALIASES__HARMFUL", "true"),
            "no such key; known here: max_days, max_usage, purge_interval, initial_length, forbidden_targets",
        ),
        (("TEMPALIAS_SMTP__MAX_MESSAGES", "-1"), "-1 is out of range"),
        (("TEMPALIAS_SMTP__MAX_ERRORS", "1.5"), "expected a whole number"),
        (("TEMPALIAS_SMTP", "1"), "expected a section"),
        (("TEMPALIAS_HTTP__JSONP", "yes"), "expected true or false"),
    ] {
        assert_eq!(refused(MINIMAL, &[variable]), format!("environment: {}: {reason}", variable.0));
    }
    for unknown in
        ["TEMPALIAS_HOST", "TEMPALIAS_STMP__LISTEN", "TEMPALIAS_A__B__C", "TEMPALIAS_", "TEMPALIAS___"]
    {
        let reason = refused(MINIMAL, &[(unknown, "1")]);
        assert!(
            reason.starts_with("environment: TEMPALIAS_") && reason.contains(": no such key;"),
            "{reason}"
        );
    }
    assert!(
        refused("smtp = 1", &[("TEMPALIAS_SMTP__LISTEN", "1")])
            .starts_with("environment: TEMPALIAS_SMTP__LISTEN: ")
    );
}

/// What a platform makes of a service called `service`, with its port.
fn links(service: &str, port: u16) -> Vec<(String, String)> {
    let url = format!("tcp://10.0.0.1:{port}");
    let tcp = format!("PORT_{port}_TCP");
    [
        // Kubernetes
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", &port.to_string()),
        ("SERVICE_PORT_HTTP", &port.to_string()),
        ("PORT", &url),
        (&tcp, &url),
        (&format!("{tcp}_PROTO"), "tcp"),
        (&format!("{tcp}_PORT"), &port.to_string()),
        (&format!("{tcp}_ADDR"), "10.0.0.1"),
        // docker run --link
        ("NAME", "/web/tempalias"),
        ("ENV_TEMPALIAS_HTTP__LISTENN", "whatever"),
    ]
    .map(|(name, value)| (format!("{service}_{name}"), value.to_owned()))
    .into()
}

#[test]
fn what_a_container_platform_makes_of_a_services_name_is_not_meant_for_us() {
    for (service, port) in [("TEMPALIAS", 8080), ("TEMPALIAS_SMTP", 25), ("TEMPALIAS_HTTP", 80)] {
        let links = links(service, port);
        let links: Vec<_> = links.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(parse(MINIMAL, &links), parse(MINIMAL, &[]), "{service}");
        let output = check(Path::new("tests/config/good/minimal.toml"), &links);
        assert_ne!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
        for link in links {
            assert_eq!(parse(MINIMAL, &[link]), parse(MINIMAL, &[]), "{link:?}");
        }
    }
    for wrong in [
        ("TEMPALIAS_PORT", "25"),
        ("TEMPALIAS_SMARTHOST_PORT", "587"),
        ("TEMPALIAS_SMTP_PORT", "https://10.0.0.1:25"),
        ("TEMPALIAS_HTTP_NAME", "Our aliases"),
        ("TEMPALIAS_HTTP__LISTENN", "127.0.0.1:1"),
        ("TEMPALIAS_SERVICE_HOSTNAME", "10.0.0.1"),
        ("TEMPALIAS_PORT_25_TLS", "tcp://10.0.0.1:25"),
    ] {
        let reason = refused(MINIMAL, &[wrong]);
        assert!(reason.starts_with(&format!("environment: {}: no such key;", wrong.0)), "{reason}");
    }
    // A key is a key, whatever its value looks like.
    assert_eq!(parse(MINIMAL, &[("TEMPALIAS_HTTP__NAME", "/web/smtp")]).unwrap().http.name, "/web/smtp");
}

#[test]
fn a_host_may_be_written_in_brackets() {
    for (written, host) in [("[::1]", "::1"), ("[relay.example.net]", "relay.example.net"), ("::1", "::1")] {
        let variables = [("TEMPALIAS_SMARTHOST__HOST", written), ("TEMPALIAS_SMARTHOST__PORT", "2525")];
        assert_eq!(parse(MINIMAL, &variables).unwrap().smarthost.host, host);
    }
    let config = parse(MINIMAL, &[("TEMPALIAS_DNS__SERVERS", "[::1]")]).unwrap();
    assert_eq!(config.dns.servers, ["[::1]:53".parse().unwrap()]);
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark() {
    assert_eq!(parse(&format!("\u{feff}{MINIMAL}"), &[]), parse(MINIMAL, &[]));
}

#[test]
fn text_in_the_environment_needs_no_quotes_whatever_it_looks_like() {
    let variables = [
        ("TEMPALIAS_DATA_DIR", "/srv"),
        ("TEMPALIAS_SMARTHOST__TLS", "starttls"),
        ("TEMPALIAS_SMARTHOST__USERNAME", "12345"),
        ("TEMPALIAS_SMARTHOST__PASSWORD_FILE", "2026-06-12"),
        ("TEMPALIAS_SMARTHOST__CA_FILE", "true"),
        ("TEMPALIAS_SMTP__TLS_CERT", "\"quoted\""),
        ("TEMPALIAS_SMTP__TLS_KEY", "[1]"),
    ];
    let config = parse(MINIMAL, &variables).unwrap();
    let Smarthost { username, password_file, ca_file, .. } = config.smarthost;
    assert_eq!(username.as_deref(), Some("12345"));
    assert_eq!([password_file, ca_file], [Some("2026-06-12".into()), Some("true".into())]);
    assert_eq!([config.smtp.tls_cert, config.smtp.tls_key], [Some("quoted".into()), Some("[1]".into())]);
}

#[test]
fn a_file_named_in_the_environment_is_blamed_on_its_variable() {
    let output = check(
        Path::new("tests/config/good/password-under-tls.toml"),
        &[("TEMPALIAS_SMARTHOST__PASSWORD_FILE", "/nowhere/password")],
    );
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "tempalias: environment: TEMPALIAS_SMARTHOST__PASSWORD_FILE: /nowhere/password: \
         No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let variable = ("TEMPALIAS_HOSTNAME".into(), OsString::from_vec(vec![0xff]));
    let error = config::parse("test.toml", MINIMAL, [variable]).unwrap_err();
    assert_eq!(error.to_string(), "environment: TEMPALIAS_HOSTNAME: not UTF-8");
}

#[test]
fn a_log_filter_that_cannot_be_understood_is_a_configuration_error() {
    let output = check(Path::new("tests/config/good/minimal.toml"), &[("TEMPALIAS_LOG", "tempalias=loud")]);
    assert_eq!(output.status.code(), Some(78));
    let shown = String::from_utf8(output.stderr).unwrap();
    assert!(shown.starts_with("tempalias: environment: TEMPALIAS_LOG: "), "{shown}");
    assert_eq!(shown.lines().count(), 1);
}
