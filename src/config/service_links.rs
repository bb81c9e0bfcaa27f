//! Variables that container platforms make from the names of services. Those of a service called `tempalias-smtp`
//! begin like our overrides, but are not meant for us.
//!
//! Kubernetes gives every pod, of each service in its namespace, `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT` and the
//! latter once more for each port that has a name, besides what `docker run --link` makes: `NAME_PORT`,
//! `NAME_PORT_25_TCP` and its parts, and Docker alone `NAME_NAME` and `NAME_ENV_VARIABLE`.
//! (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>,
//! <https://docs.docker.com/engine/network/links/#environment-variables>)

use std::ffi::OsStr;

/// Whether a platform has made the variable `name`, which begins with `TEMPALIAS`.
///
/// Most names say it. Two of them could be typing errors, such as `TEMPALIAS_SMARTHOST_PORT`; there the value decides.
pub(super) fn is_service_variable(name: &OsStr, value: &OsStr) -> bool {
    let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { return false };
    // A linked container's own variables can have any name.
    if after_last(name, "_ENV_").is_some() {
        return true;
    }
    // Two underscores are between a section and its key.
    if name.contains("__") || name.chars().any(|letter| letter.is_ascii_lowercase()) {
        return false;
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let is_port = |rest: &str| {
        let mut words = rest.split('_');
        words.next().is_some_and(is_number)
            && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!(words.next(), None | Some("PROTO" | "PORT" | "ADDR" | "START" | "END"))
            && words.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || after_last(name, "_SERVICE_PORT_").is_some()
        || after_last(name, "_PORT_").is_some_and(is_port)
        || name.ends_with("_PORT") && is_url(value)
        || name.ends_with("_NAME") && is_container(value)
}

/// What follows the last `part` of `name`, if anything does.
fn after_last<'n>(name: &'n str, part: &str) -> Option<&'n str> {
    name.rsplit_once(part).map(|(_, rest)| rest).filter(|rest| !rest.is_empty())
}

/// `tcp://10.0.0.1:25`
fn is_url(value: &str) -> bool {
    matches!(value.split_once("://"), Some(("tcp" | "udp" | "sctp", rest)) if rest.contains(':'))
}

/// `/web/smtp`: the linked container's name.
fn is_container(value: &str) -> bool {
    value.strip_prefix('/').is_some_and(|path| path.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_link(name: &str, value: &str) -> bool {
        is_service_variable(name.as_ref(), value.as_ref())
    }

    #[test]
    fn what_a_platform_makes_of_a_service_is_known_by_name_and_value() {
        for service in ["TEMPALIAS", "TEMPALIAS_SMTP", "TEMPALIAS_HTTP", "TEMPALIAS_2"] {
            for (name, value) in [
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_HOST", "fd00::1"),
                ("SERVICE_PORT", "25"),
                ("SERVICE_PORT_HTTP", "80"),
                ("SERVICE_PORT_SMTP_STARTTLS", "587"),
                ("PORT", "tcp://10.0.0.1:25"),
                ("PORT", "udp://[fd00::1]:53"),
                ("PORT_25_TCP", "tcp://10.0.0.1:25"),
                ("PORT_25_TCP_PROTO", "tcp"),
                ("PORT_25_TCP_PORT", "25"),
                ("PORT_25_TCP_ADDR", "10.0.0.1"),
                ("PORT_53_UDP", "udp://10.0.0.1:53"),
                ("PORT_9899_SCTP_ADDR", "10.0.0.1"),
                ("NAME", "/web/smtp"),
                ("ENV_PATH", "/bin"),
                ("ENV_tempalias_http__listen", "x"),
            ] {
                assert!(is_link(&format!("{service}_{name}"), value), "{service}_{name}={value}");
            }
        }
    }

    #[test]
    fn keys_and_typing_errors_are_no_links() {
        for (name, value) in [
            ("TEMPALIAS_PORT", "25"),
            ("TEMPALIAS_SMARTHOST_PORT", "587"),
            ("TEMPALIAS_SMARTHOST__PORT", "tcp://10.0.0.1:25"),
            ("TEMPALIAS_PORT", "http://10.0.0.1:25"),
            ("TEMPALIAS_HTTP_NAME", "Our aliases"),
            ("TEMPALIAS_HTTP__NAME", "/web/smtp"),
            ("TEMPALIAS_HOSTNAME", "/web/smtp"),
            ("TEMPALIAS_SERVICE", "10.0.0.1"),
            ("TEMPALIAS_SERVICE_HOSTS", "10.0.0.1"),
            ("TEMPALIAS_PORT_TCP", "25"),
            ("TEMPALIAS_PORT_25", "25"),
            ("TEMPALIAS_PORT_25_TLS", "25"),
            ("TEMPALIAS_PORT_25_TCP_ADDRESS", "10.0.0.1"),
            ("TEMPALIAS_PORT_25_TCP_ADDR_X", "10.0.0.1"),
            ("TEMPALIAS_service_host", "10.0.0.1"),
            ("TEMPALIAS_ENV", "x"),
            ("TEMPALIAS_ENV_", "x"),
        ] {
            assert!(!is_link(name, value), "{name}={value}");
        }
    }
}
