//! Values that people write and that need reading with care: durations and node names.

use std::time::Duration;

/// The longest name of a node: it is also the value of a label.
const NAME_LIMIT: usize = 63;

/// Reads a duration such as `90s`, `30m`, `1h30m` or `7d`.
///
/// # Errors
/// When it is none, is nothing at all, or is too long to count.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no duration; write it like 90s, 30m, 1h30m or 7d");
    let mut seconds: u64 = 0;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit: u64 = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return Err(wrong()),
        };
        let count: u64 = number.parse().map_err(|_| wrong())?;
        number.clear();
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
    }
    if !number.is_empty() {
        return Err(format!("\"{text}\" has no unit; write it like 90s, 30m, 1h30m or 7d"));
    }
    if seconds == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

/// Reads how long something goes on that may also end at once: a duration, or `0`.
///
/// # Errors
/// As [`duration`].
pub(crate) fn grace(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}

/// Reads a node's name: what a Kubernetes object may be called.
///
/// # Errors
/// When it is not such a name.
pub(crate) fn node_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_inside = |c: char| is_plain(c) || c == '-' || c == '.';
    let sound = text.starts_with(is_plain) && text.ends_with(is_plain) && text.chars().all(is_inside);
    if sound && text.len() <= NAME_LIMIT && !text.contains("..") {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a node's name has lower-case letters, digits, '-' and '.', begins and ends with a letter or digit, and is at most \
         {NAME_LIMIT} long"
    ))
}

/// A duration in few letters, such as `9m50s`: its two largest units.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("7d"), Ok(7 * 86_400));
        for wrong in ["", "h", "10", "1h30", "-1s", "1w", "0s", "99999999999999999999d", "300000000000000000d", "1 h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_those_that_objects_can_have() {
        for right in ["a", "node-1", "rack2.example", "0x"] {
            assert!(node_name(right).is_ok(), "{right}");
        }
        let long = "a".repeat(NAME_LIMIT + 1);
        for wrong in ["", "-a", "a-", "A", "a b", "a..b", "ä", "a_b", &long] {
            assert!(node_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_shown_by_their_two_largest_units() {
        let shown = |seconds| short(Duration::from_secs(seconds));
        assert_eq!([shown(9), shown(590), shown(3660), shown(90_000)], ["9s", "9m50s", "1h01m", "1d01h"]);
    }
}
