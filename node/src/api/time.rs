//! Times as Kubernetes writes them: RFC 3339 in UTC. No clock is read here.

/// Days from the civil calendar's day 0000-03-01 to the Unix epoch.
const EPOCH_DAYS: i64 = 719_468;
const DAY_MS: u64 = 86_400_000;

/// A time in milliseconds since the Unix epoch as `2026-01-31T12:00:00Z`; what is below the second is cut.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    let (days, rest) = (ms / DAY_MS, ms % DAY_MS / 1000);
    // Howard Hinnant's days-to-civil: years that begin in March put the leap day last.
    let z = i64::try_from(days).unwrap_or(0) + EPOCH_DAYS;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Reads `2026-01-31T12:00:00Z`, with a fraction or an offset, as milliseconds since the Unix epoch. `None`: it is no
/// such time, or before the epoch.
#[must_use]
pub fn parse_rfc3339_ms(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mark = |at: usize, marks: &[u8]| text.as_bytes().get(at).is_some_and(|byte| marks.contains(byte)).then_some(());
    for (at, marks) in [(4, &b"-"[..]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")] {
        mark(at, marks)?;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_ms, rest) = fraction(text.get(19..)?)?;
    let offset_minutes = offset(rest)?;
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        year_from_march * 365 + year_from_march / 4 - year_from_march / 100 + year_from_march / 400 + day_of_year;
    let seconds = (days - EPOCH_DAYS) * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    u64::try_from(seconds * 1000 + fraction_ms).ok()
}

fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(digits) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let ms = digits[..end].bytes().chain(*b"000").take(3).fold(0, |ms, byte| ms * 10 + i64::from(byte - b'0'));
    (end > 0).then_some((ms, &digits[end..]))
}

fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let part = |text: &str| (text.len() == 2).then(|| text.parse::<u8>().ok())?.map(i64::from);
    Some(sign * (part(hours)? * 60 + part(minutes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_back_as_they_were_written() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_704_067_199_000, "2023-12-31T23:59:59Z"),
            (1_795_478_400_000, "2026-11-24T00:00:00Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse_rfc3339_ms(text), Some(ms));
        }
    }

    #[test]
    fn offsets_and_fractions_count() {
        assert_eq!(parse_rfc3339_ms("1970-01-01T02:00:00.25+02:00"), Some(250));
        assert_eq!(parse_rfc3339_ms("1969-12-31T23:00:00-01:00"), Some(0));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-13-01T00:00:00Z",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "1969-01-01T00:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "２026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339_ms(text), None, "{text}");
        }
    }
}
