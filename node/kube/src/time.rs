//! Times as Kubernetes writes them (RFC 3339 in UTC), and spans as kubectl shows them. No clock is read here: all times
//! are milliseconds since the Unix epoch that somebody else read.

/// Days from 0000-03-01 to the Unix epoch.
const EPOCH_DAYS: i64 = 719_468;
const DAY_MS: u64 = 86_400_000;

/// A time as `2026-01-31T12:00:00Z`; what is below the second is cut.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    format!("{}Z", to_second(ms))
}

/// A time as `2026-01-31T12:00:00.000000Z`.
#[must_use]
pub fn rfc3339_micro(ms: u64) -> String {
    format!("{}.{:03}000Z", to_second(ms), ms % 1000)
}

fn to_second(ms: u64) -> String {
    let (days, rest) = (ms / DAY_MS, ms % DAY_MS / 1000);
    // Years that begin in March have their leap day at the end, which makes days and months a matter of division.
    let days = i64::try_from(days).unwrap_or(0) + EPOCH_DAYS;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Reads `2026-01-31T12:00:00Z`, also with a fraction or an offset. `None`: it is no such time, or before the epoch.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    for (at, marks) in [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")] {
        text.get(at..=at).filter(|mark| marks.contains(mark))?;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month)
        || !(1..=days_of(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let (fraction_ms, rest) = fraction(text.get(19..)?)?;
    let offset_minutes = offset(rest)?;
    let from_march = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = from_march * 365 + from_march / 4 - from_march / 100 + from_march / 400 + day_of_year - EPOCH_DAYS;
    let seconds = days * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    u64::try_from(seconds * 1000 + fraction_ms).ok()
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(digits) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let ms = digits.bytes().take(end).chain(*b"000").take(3).fold(0, |ms, byte| ms * 10 + i64::from(byte - b'0'));
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

/// A span as kubectl shows ages: `5s`, `3m20s`, `15m`, `2h5m`, `26h`, `3d4h`, `12d`, `2y40d`.
#[must_use]
pub fn human_duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |a: u64, unit: &str, b: u64, smaller: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{smaller}") }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 8 * 365 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

/// The age of a time that an object holds; `<unknown>` for one that is missing or cannot be read.
#[must_use]
pub fn age(since: Option<&str>, now_ms: u64) -> String {
    match since.and_then(parse_rfc3339) {
        Some(since) => human_duration(now_ms.saturating_sub(since)),
        None => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_written_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_704_067_199_999, "2023-12-31T23:59:59Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
        assert_eq!(rfc3339_micro(1_250), "1970-01-01T00:00:01.250000Z");
        assert_eq!(parse_rfc3339("1970-01-01T02:00:00.25+02:00"), Some(250));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "now", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn ages_read_as_kubectl_shows_them() {
        let (minute, hour, day) = (60, 3600, 86_400);
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (3 * minute + 20, "3m20s"),
            (15 * minute, "15m"),
            (179 * minute, "179m"),
            (3 * hour + 5 * minute, "3h5m"),
            (26 * hour, "26h"),
            (3 * day + 4 * hour, "3d4h"),
            (12 * day, "12d"),
            (770 * day, "2y40d"),
            (3000 * day, "8y"),
        ] {
            assert_eq!(human_duration(seconds * 1000), text);
        }
        assert_eq!(age(None, 5), "<unknown>");
        assert_eq!(age(Some("1970-01-01T00:00:10Z"), 5_000), "0s");
    }

    proptest! {
        #[test]
        fn a_time_is_read_back(ms in 0_u64..253_402_300_799_000) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(ms)), Some(ms / 1000 * 1000));
            prop_assert_eq!(parse_rfc3339(&rfc3339_micro(ms)), Some(ms));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse_rfc3339(&text);
        }
    }
}
