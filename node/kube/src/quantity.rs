//! Amounts as Kubernetes writes them (`500m`, `1.5`, `64Mi`, `1e3`), exactly, in one canonical form; and counts that
//! may be percentages. What they are amounts of does not live here.

use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// The longest text that is read.
const MAX_TEXT_BYTES: usize = 64;
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// An amount in billionths, and how it was written. Ordered and compared by the amount alone.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Binary,
    Decimal,
    Exponent,
}

/// A text that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an amount such as 500m, 1.5, 64Mi or 1e3")]
pub struct ParseQuantityError;

impl Quantity {
    /// In billionths.
    #[must_use]
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// In thousandths, rounded up.
    #[must_use]
    pub fn millis(self) -> i128 {
        div_up(self.nanos, NANO / 1000)
    }

    /// In whole units, rounded up.
    #[must_use]
    pub fn units(self) -> i128 {
        div_up(self.nanos, NANO)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or(ParseQuantityError)
    }
}

/// The canonical form: the largest suffix that leaves a whole number.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.nanos / NANO;
        let whole = self.nanos % NANO == 0;
        if self.format == Format::Binary && whole && units.abs() >= 1024 {
            let suffix = BINARY.iter().rev().find(|(_, bits)| units % (1_i128 << bits) == 0);
            return match suffix {
                Some((suffix, bits)) => write!(f, "{}{suffix}", units >> bits),
                None => write!(f, "{units}"),
            };
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // The tables' powers reach from -9 to 18, so each scale is a power of ten from 0 to 27.
        let scale = |power: i32| 10_i128.pow(u32::try_from(power + 9).unwrap_or(0));
        let best = DECIMAL.iter().rev().find(|(_, power)| self.nanos % scale(*power) == 0);
        let (suffix, power) = best.copied().unwrap_or(("n", -9));
        let mantissa = self.nanos / scale(power);
        match self.format {
            Format::Exponent if power != 0 => write!(f, "{mantissa}e{power}"),
            _ => write!(f, "{mantissa}{suffix}"),
        }
    }
}

fn parse(text: &str) -> Option<Quantity> {
    if text.len() > MAX_TEXT_BYTES || !text.is_ascii() {
        return None;
    }
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (format, factor, power) = scale_of(suffix)?;
    // What is below a billionth of a billionth is not told apart.
    let fraction = &fraction[..fraction.len().min(18)];
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let power = power + 9 - i32::try_from(fraction.len()).ok()?;
    let ten = 10_i128.checked_pow(power.unsigned_abs())?;
    let scaled = mantissa.checked_mul(factor)?;
    let nanos = if power >= 0 { scaled.checked_mul(ten)? } else { div_up(scaled, ten) };
    Some(Quantity { nanos: if negative { -nanos } else { nanos }, format })
}

/// A suffix as a format, a factor and a power of ten.
fn scale_of(suffix: &str) -> Option<(Format, i128, i32)> {
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Format::Binary, 1 << bits, 0));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Format::Decimal, 1, *power));
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-18..=18).contains(&power).then_some((Format::Exponent, 1, power))
}

fn div_up(a: i128, b: i128) -> i128 {
    a / b + i128::from(a % b > 0)
}

/// A count, or a share of one: what `maxSurge` and `maxUnavailable` hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountOrPercent {
    /// So many.
    Count(u32),
    /// So many in a hundred.
    Percent(u32),
}

impl CountOrPercent {
    /// Reads a number from 0 on, or a text such as `25%`.
    #[must_use]
    pub fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Number(number) => {
                Some(CountOrPercent::Count(u32::try_from(number.as_i64()?).ok().filter(|n| *n <= i32::MAX as u32)?))
            }
            serde_json::Value::String(text) => {
                let digits = text.strip_suffix('%')?;
                let sane = !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|b| b.is_ascii_digit());
                sane.then(|| digits.parse().ok().map(CountOrPercent::Percent))?
            }
            _ => None,
        }
    }

    /// As a count of `total`.
    #[must_use]
    pub fn of_total(self, total: u32, round_up: bool) -> u32 {
        match self {
            CountOrPercent::Count(count) => count,
            CountOrPercent::Percent(percent) => {
                let product = u64::from(percent) * u64::from(total);
                let share = if round_up { product.div_ceil(100) } else { product / 100 };
                u32::try_from(share).unwrap_or(u32::MAX)
            }
        }
    }

    /// Whether it is nothing, whatever the total.
    #[must_use]
    pub fn is_zero(self) -> bool {
        matches!(self, CountOrPercent::Count(0) | CountOrPercent::Percent(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_canonical_form_is_the_largest_suffix_without_a_fraction() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("2000", "2k"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1536", "1536"),
            ("1.5Ki", "1536"),
            ("0.1Gi", "107374182400m"),
            ("1e3", "1e3"),
            ("1.5e3", "1500"),
            ("100n", "100n"),
            ("0.0000000001", "1n"),
            ("-1.5", "-1500m"),
            ("+2", "2"),
            (".5", "500m"),
            ("5.", "5"),
            ("64Mi", "64Mi"),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "-", ".", "1.2.3", "abc", "1 Mi", "1MiB", "1e", "1e99", "０1", "1e1.5", &"9".repeat(60)] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_compared_by_what_they_mean() {
        let read = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(read("1"), read("1000m"));
        assert!(read("1Gi") > read("1G"));
        assert_eq!((read("1500m").units(), read("1u").millis()), (2, 1));
    }

    #[test]
    fn a_share_is_rounded_as_the_rollout_needs_it() {
        let percent = CountOrPercent::of(&"25%".into()).unwrap();
        assert_eq!((percent.of_total(6, true), percent.of_total(6, false)), (2, 1));
        for wrong in ["25", "%", "-1%", "1.5%", "9999999%"] {
            assert_eq!(CountOrPercent::of(&wrong.into()), None, "{wrong}");
        }
        assert_eq!(CountOrPercent::of(&(-1).into()), None);
    }

    proptest! {
        #[test]
        fn the_canonical_form_means_the_same_and_stays(
            number in -1_000_000_i64..1_000_000,
            fraction in "(\\.[0-9]{1,9})?",
            suffix in "(n|u|m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi|e[0-9]|e-[0-9])?",
        ) {
            if let Ok(read) = format!("{number}{fraction}{suffix}").parse::<Quantity>() {
                let canonical = read.to_string();
                let again: Quantity = canonical.parse().unwrap();
                prop_assert_eq!(again, read);
                prop_assert_eq!(again.to_string(), canonical);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<Quantity>();
        }
    }
}
