//! What single values must look like: names, labels, ports, addresses. What they mean together does not live here.

use std::net::IpAddr;

use serde_json::Value;

use crate::quantity::{CountOrPercent, Quantity};
use crate::schema::Check;
use crate::status::Problem;

const LABEL_RULE: &str = "\
     a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
     with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "\
     a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
     and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const SERVICE_NAME_RULE: &str = "\
     a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
     and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
     '[a-z]([-a-z0-9]*[a-z0-9])?')";
const KEY_RULE: &str = "\
     name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
     character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE: &str = "\
     a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
     and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation \
     is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const POD_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Checks one value; what is wrong with it is added to `problems`. A value of another type than the check is for
/// passes: types are checked before.
pub fn value(check: Check, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    match (check, value) {
        (Check::OneOf(allowed), Value::String(text)) if !allowed.contains(&text.as_str()) => {
            problems.push(Problem::not_supported(path, value, allowed));
        }
        (Check::ComputeResource, Value::String(text)) if text != "cpu" && text != "memory" => {
            let why = format!("skein does not support the resource {text} yet, only cpu and memory");
            problems.push(Problem::forbidden(path, &why));
        }
        (check, Value::String(text)) => {
            if let Some(why) = text_fault(check, text) {
                problems.push(Problem::invalid(path, value, &why));
            }
        }
        (check, Value::Number(number)) => {
            if let Some(why) = number_fault(check, number.as_i64().unwrap_or(i64::MAX)) {
                problems.push(Problem::invalid(path, value, &why));
            }
        }
        _ => {}
    }
}

/// What is wrong with a name of a label of RFC 1123.
#[must_use]
pub fn dns_label(text: &str) -> Option<String> {
    match text.len() {
        64.. => Some("must be no more than 63 characters".to_owned()),
        _ => (!is_label(text)).then(|| LABEL_RULE.to_owned()),
    }
}

/// What is wrong with a subdomain of RFC 1123.
#[must_use]
pub fn dns_subdomain(text: &str) -> Option<String> {
    match text.len() {
        254.. => Some("must be no more than 253 characters".to_owned()),
        _ => (!text.split('.').all(is_label)).then(|| SUBDOMAIN_RULE.to_owned()),
    }
}

/// What is wrong with a Service's name.
#[must_use]
pub fn service_name(text: &str) -> Option<String> {
    match text.len() {
        64.. => Some("must be no more than 63 characters".to_owned()),
        _ => (!is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()))
            .then(|| SERVICE_NAME_RULE.to_owned()),
    }
}

/// What is wrong with a label's key.
#[must_use]
pub fn label_key(text: &str) -> Option<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if let Some(why) = prefix.and_then(|prefix| match prefix {
        "" => Some("prefix part must be non-empty".to_owned()),
        prefix => dns_subdomain(prefix),
    }) {
        return Some(format!("prefix part {why}"));
    }
    match name.len() {
        0 => Some("name part must be non-empty".to_owned()),
        64.. => Some("name part must be no more than 63 characters".to_owned()),
        _ => (!is_qualified(name)).then(|| KEY_RULE.to_owned()),
    }
}

fn text_fault(check: Check, text: &str) -> Option<String> {
    let unless = |holds: bool, why: &str| (!holds).then(|| why.to_owned());
    match check {
        Check::DnsLabel => dns_label(text),
        Check::DnsSubdomain => dns_subdomain(text),
        Check::LabelKey => label_key(text),
        Check::AnnotationKey => label_key(&text.to_ascii_lowercase()),
        Check::LabelValue if text.len() > 63 => Some("must be no more than 63 characters".to_owned()),
        Check::LabelValue => unless(text.is_empty() || is_qualified(text), VALUE_RULE),
        Check::NonEmpty => unless(!text.is_empty(), "must not be empty"),
        Check::PortName | Check::PortOrName => unless(
            is_port_name(text),
            "must be a port's name: at most 15 lower case letters, digits and dashes, with at least one letter, no \
                 dash at an end and no two in a row",
        ),
        Check::CountOrPercent => unless(
            CountOrPercent::of(&text.into()).is_some(),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
                 used for validation is '[0-9]+%')",
        ),
        Check::EnvName => unless(
            !text.is_empty() && text.chars().all(|c| (' '..='~').contains(&c) && c != '='),
            "a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
        Check::ConfigKey => config_key_fault(text),
        Check::Ip => {
            unless(text.parse::<IpAddr>().is_ok(), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
        }
        Check::Cidr => unless(is_cidr(text), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        Check::AbsolutePath => unless(text.starts_with('/'), "must be an absolute path"),
        Check::PathWithin | Check::FileWithin => path_fault(text, check == Check::FileWithin),
        Check::HeaderName => unless(
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
                 validation is '[-A-Za-z0-9]+')",
        ),
        Check::AmountFromZero => unless(
            text.parse::<Quantity>().is_ok_and(|amount| amount.nanos() >= 0),
            "must be greater than or equal to 0",
        ),
        Check::PodField => unless(
            is_pod_field(text),
            &format!("must be one of {}, metadata.labels['KEY'], metadata.annotations['KEY']", POD_FIELDS.join(", ")),
        ),
        Check::SelectorOperator => {
            unless(["In", "NotIn", "Exists", "DoesNotExist"].contains(&text), "not a valid selector operator")
        }
        Check::None | Check::OneOf(_) | Check::Range(..) | Check::Port | Check::ComputeResource | Check::FileMode => {
            None
        }
    }
}

fn number_fault(check: Check, number: i64) -> Option<String> {
    let within = |from: i64, to: i64| match (from..=to).contains(&number) {
        true => None,
        false if to >= i64::from(i32::MAX) && number < from && from == 0 => {
            Some("must be greater than or equal to 0".to_owned())
        }
        false if to >= i64::from(i32::MAX) && number < from => Some("must be greater than 0".to_owned()),
        false => Some(format!("must be between {from} and {to}, inclusive")),
    };
    match check {
        Check::Range(from, to) => within(from, to),
        Check::Port | Check::PortOrName => within(1, 65535),
        Check::CountOrPercent => within(0, i64::from(i32::MAX)),
        Check::FileMode if !(0..=0o777).contains(&number) => {
            Some("must be a number between 0 and 0777 (octal), both inclusive".to_owned())
        }
        _ => None,
    }
}

fn path_fault(text: &str, is_written: bool) -> Option<String> {
    if text.starts_with('/') {
        return Some("must be a relative path".to_owned());
    }
    if text.split('/').any(|part| part == "..") {
        return Some("must not contain '..'".to_owned());
    }
    (is_written && text.starts_with("..")).then(|| "must not start with '..'".to_owned())
}

fn config_key_fault(text: &str) -> Option<String> {
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match text {
        "." | ".." => Some(format!("must not be '{text}'")),
        text if text.len() > 253 => Some("must be no more than 253 characters".to_owned()),
        text if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        text if text.is_empty() || !text.bytes().all(sane) => Some(
            "a valid config key must consist of alphanumeric \
             characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation \
             is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Whether a text is a range of addresses: an address, and how many of its first bits count.
#[must_use]
pub(crate) fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let longest = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= longest)
}

fn is_label(text: &str) -> bool {
    let sane = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(|b| sane(*b))
        && bytes.last().is_some_and(|b| sane(*b))
        && bytes.iter().all(|b| sane(*b) || *b == b'-')
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_port_name(text: &str) -> bool {
    text.len() <= 15 && is_label(text) && text.bytes().any(|b| b.is_ascii_lowercase()) && !text.contains("--")
}

fn is_pod_field(text: &str) -> bool {
    let keyed = |prefix: &str| {
        let key = text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']"));
        key.is_some_and(|key| label_key(key).is_none())
    };
    POD_FIELDS.contains(&text) || keyed("metadata.labels['") || keyed("metadata.annotations['")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fails(check: Check, tested: &Value) -> bool {
        let mut problems = Vec::new();
        value(check, tested, "x", &mut problems);
        !problems.is_empty()
    }

    #[test]
    fn values_are_checked_as_kubernetes_does() {
        let long = "a".repeat(64);
        for (check, good, bad) in [
            (Check::DnsLabel, vec!["a", "a-1", "0"], vec!["", "A", "-a", "a-", "a.b", "a_b", long.as_str()]),
            (Check::DnsSubdomain, vec!["a.b-c", "1.2"], vec!["", "a..b", ".a", "A", "a/b"]),
            (Check::LabelKey, vec!["app", "a.b/App_1"], vec!["", "/a", "a/", "A.b/c", "a/b/c", "-a", long.as_str()]),
            (Check::AnnotationKey, vec!["A.b/c"], vec!["a b"]),
            (Check::LabelValue, vec!["", "A.b_c-1"], vec!["-a", "a b", long.as_str()]),
            (Check::PortOrName, vec!["http", "a-1"], vec!["80", "", "HTTP", "a--b", "sixteen-letters-"]),
            (Check::CountOrPercent, vec!["25%"], vec!["25", "%", "a%"]),
            (Check::EnvName, vec!["A_b.c-1", "1"], vec!["", "a=b", "ü"]),
            (Check::ConfigKey, vec!["a.b_C-1", "...".get(1..2).map_or("", |_| "a..")], vec!["", ".", "..a", "a/b"]),
            (Check::Ip, vec!["1.2.3.4", "::1"], vec!["1.2.3", "x"]),
            (Check::AmountFromZero, vec!["0", "1Gi"], vec!["-1", "x"]),
            (
                Check::PodField,
                vec!["metadata.name", "metadata.labels['a']"],
                vec!["metadata", "spec.x", "metadata.labels['']"],
            ),
            (Check::PathWithin, vec!["a/b", "..a"], vec!["/a", "a/../b", ".."]),
            (Check::FileWithin, vec!["a/b", ".a"], vec!["/a", "a/../b", "..a/b"]),
            (Check::HeaderName, vec!["X-A"], vec!["", "a:b"]),
        ] {
            for text in good {
                assert!(!fails(check, &text.into()), "{check:?} {text:?}");
            }
            for text in bad {
                assert!(fails(check, &text.into()), "{check:?} {text:?}");
            }
        }
        assert!(fails(Check::Port, &json!(0)) && fails(Check::Port, &json!(65536)) && !fails(Check::Port, &json!(80)));
        assert!(fails(Check::Range(0, i64::from(i32::MAX)), &json!(-1)));
        assert!(fails(Check::FileMode, &json!(512)) && !fails(Check::FileMode, &json!(0o644)));
        assert!(fails(Check::OneOf(&["a"]), &json!("b")) && !fails(Check::OneOf(&["a"]), &json!("a")));
        assert!(service_name("1a").is_some() && service_name("a1").is_none());
    }
}
