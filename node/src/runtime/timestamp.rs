//! RFC 3339 time stamps as engines and logs write them. Only UTC is written; offsets are understood.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, milliseconds since the Unix epoch; 0 for a clock before it.
pub(super) fn now_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// Now with nine digits after the dot, as in logs.
pub(super) fn now_text() -> String {
    format(since_epoch())
}

/// The time since the Unix epoch as `2026-01-02T03:04:05.000000000Z`.
pub(super) fn format(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = date_of(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanos = since_epoch.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Milliseconds since the Unix epoch; `None` for what is no time stamp, or before the epoch. Engines write year 1 for
/// "never", which is `None` too.
pub(super) fn parse_ms(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let separated = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !text.is_ascii() || bytes.len() < 20 || separated.iter().any(|&(at, sign)| bytes[at] != sign) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    let rest = &text[19..];
    let digits = rest.strip_prefix('.').map_or(0, |tail| tail.bytes().take_while(u8::is_ascii_digit).count());
    let millis = match digits {
        0 => 0,
        _ => format!("{:0<3}", &rest[1..=digits])[..3].parse::<u64>().ok()?,
    };
    let zone = if digits == 0 { rest } else { &rest[1 + digits..] };
    let seconds = days_until(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    seconds.checked_add_signed(-offset_seconds(zone)?)?.checked_mul(1000)?.checked_add(millis)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `Z`, or `+hh:mm`.
fn offset_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    Some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

/// The date of a day since the epoch, in the Gregorian calendar. Counting years from March makes the leap day the last.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Days from the epoch to a date from 1970 on.
fn days_until(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let era = year / 400;
    let of_era = year % 400;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_instants_are_written_and_read() {
        assert_eq!(format(Duration::new(951_782_400, 7)), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(parse_ms("2000-02-29T00:00:00.5Z"), Some(951_782_400_500));
        assert_eq!(parse_ms("1970-01-01T01:00:00.123456789+01:00"), Some(123));
    }

    #[test]
    fn never_and_nonsense_are_no_instants() {
        for text in ["0001-01-01T00:00:00Z", "", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00"] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0u64..250_000_000_000_000) {
            prop_assert_eq!(parse_ms(&format(Duration::from_millis(ms))), Some(ms));
        }

        #[test]
        fn reading_is_total(text in "\\PC{0,40}") {
            let _ = parse_ms(&text);
        }
    }
}
