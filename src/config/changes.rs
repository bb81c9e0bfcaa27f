//! The difference of two configurations, which a reload reports.

use serde_json::Value;

use super::Config;

/// Keys that are read once, at the start: sockets are bound and the ledger is open.
const READ_ONCE: [&str; 9] = [
    "data_dir",
    "http.listen",
    "http.socket",
    "http.max_connections",
    "http.max_connections_per_ip",
    "smtp.listen",
    "metrics.listen",
    "log.format",
    "aliases.initial_length",
];

/// The keys whose values have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that take effect at once.
    pub live: Vec<String>,
    /// Those that take effect after a restart.
    pub after_restart: Vec<String>,
}

impl Changes {
    /// From `old` to `new`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut keys = Vec::new();
        compare(&value(old), &value(new), "", &mut keys);
        let (after_restart, live) = keys.into_iter().partition(|key| {
            READ_ONCE.contains(&key.as_str()) || key.starts_with("http.tls_") && switches_https(old, new)
        });
        Changes { live, after_restart }
    }
}

impl Config {
    /// This configuration with what cannot change in a running program as it is in `running`.
    pub fn beside(mut self, running: &Config) -> Self {
        let (old, new) = (running.clone(), &mut self);
        new.data_dir = old.data_dir;
        new.http.listen = old.http.listen;
        new.http.socket = old.http.socket;
        new.http.max_connections = old.http.max_connections;
        new.http.max_connections_per_ip = old.http.max_connections_per_ip;
        if switches_https(running, new) {
            (new.http.tls_cert, new.http.tls_key) = (old.http.tls_cert, old.http.tls_key);
        }
        new.smtp.listen = old.smtp.listen;
        new.metrics.listen = old.metrics.listen;
        new.log.format = old.log.format;
        new.aliases.initial_length = old.aliases.initial_length;
        self
    }
}

/// Whether a listener would have to change between HTTP and HTTPS.
fn switches_https(old: &Config, new: &Config) -> bool {
    old.http.tls_cert.is_some() != new.http.tls_cert.is_some()
}

fn value(config: &Config) -> Value {
    serde_json::to_value(config).expect("a configuration is plain data with text for keys")
}

fn compare(old: &Value, new: &Value, path: &str, keys: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if path.is_empty() || !path.contains('.') => {
            for (name, value) in new {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(old.get(name).unwrap_or(&Value::Null), value, &path, keys);
            }
        }
        _ if old != new => keys.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(text: &str) -> Config {
        let start =
            "hostname = 'mx.a.test'\ndomains = ['a.test']\npostmaster = 'p@b.test'\nsmarthost.host = 'r'\n";
        parse("test", &format!("{start}{text}"), []).unwrap()
    }

    #[test]
    fn a_default_that_is_written_down_is_no_change() {
        assert_eq!(Changes::between(&config(""), &config("smtp.max_size = '25 MiB'")), Changes::default());
    }

    #[test]
    fn changed_keys_are_told_apart_by_what_they_need() {
        let new = config("http.name = 'x'\nhttp.socket = '/x'\nsmtp.rbls = ['a.b']\nlog.level = 'debug'");
        let changes = Changes::between(&config(""), &new);
        assert_eq!(changes.live, ["http.name", "log.level", "smtp.rbls"]);
        assert_eq!(changes.after_restart, ["http.socket"]);
    }

    #[test]
    fn the_documents_name_what_needs_a_restart() {
        let document = include_str!("../../docs/operation.md");
        let (_, list) = document.split_once("**After a restart:** ").unwrap();
        let (list, _) = list.split_once(". ").unwrap();
        assert_eq!(list, READ_ONCE.map(|key| format!("`{key}`")).join(", "));
    }

    #[test]
    fn what_is_read_once_stays_as_it_is() {
        let running = config("");
        let all =
            "data_dir = '/x'\nhttp.listen = '127.0.0.1:1'\nhttp.socket = '/x'\nsmtp.listen = '127.0.0.1:2'
            metrics.listen = '127.0.0.1:3'\nlog.format = 'json'\naliases.initial_length = 9\nhttp.jsonp = true
            http.max_connections = 7\nhttp.max_connections_per_ip = 7";
        let changes = Changes::between(&running, &config(all));
        assert_eq!(changes.after_restart.len(), READ_ONCE.len());
        let merged = Changes::between(&running, &config(all).beside(&running));
        assert_eq!((merged.live, merged.after_restart), (vec!["http.jsonp".to_owned()], vec![]));
    }
}
