//! Kubernetes' quantities: `500m`, `1.5`, `64Mi`, `1e3`. What they are quantities of does not live here.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// An amount, in thousandths, rounded up as Kubernetes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity {
    thousandths: u128,
}

impl Quantity {
    /// In thousandths: what CPU is counted in. Saturates.
    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.thousandths).unwrap_or(u64::MAX)
    }

    /// In whole units, rounded up: what bytes are counted in. Saturates.
    #[must_use]
    pub fn units(self) -> u64 {
        u64::try_from(self.thousandths.div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

/// A text that is no quantity, or a negative one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a quantity (expected a number such as 500m, 1.5 or 64Mi)")]
pub struct ParseQuantityError(pub String);

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseQuantityError(text.chars().take(64).collect());
        parse(text.trim()).map(|thousandths| Quantity { thousandths }).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            _ => return Err(de::Error::custom("expected a quantity: a number or a text such as 64Mi")),
        };
        text.parse().map_err(de::Error::custom)
    }
}

fn parse(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (scale, power_of_ten) = scale_of(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // More than 18 digits after the point are below what any quantity tells apart.
    let fraction: String = fraction.chars().take(18).collect();
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let power = power_of_ten + 3 - i32::try_from(fraction.len()).ok()?;
    let scaled = mantissa.checked_mul(scale)?;
    let ten = 10_u128.checked_pow(power.unsigned_abs())?;
    if power >= 0 { scaled.checked_mul(ten) } else { Some(scaled.div_ceil(ten)) }
}

/// A suffix as a factor and a power of ten.
fn scale_of(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        other => (1, other.strip_prefix(['e', 'E'])?.parse().ok().filter(|power| (-18..=18).contains(power))?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, millis) in [
            ("500m", 500),
            ("1.5", 1500),
            ("2", 2000),
            ("1Ki", 1_024_000),
            ("1k", 1_000_000),
            ("1e2", 100_000),
            ("0.0001", 1),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().millis(), millis, "{text}");
        }
        assert_eq!("64Mi".parse::<Quantity>().unwrap().units(), 64 << 20);
        assert_eq!("1m".parse::<Quantity>().unwrap().units(), 1);
    }

    #[test]
    fn what_is_no_quantity_is_an_error() {
        for text in ["", "abc", "1.5.5", "-1", "1e99", "9999999999999999999999999999999999999999", "1 Mi"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn json_may_hold_a_number_or_a_text() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json).map(Quantity::millis).ok();
        assert_eq!((read("2"), read("\"2\""), read("[]")), (Some(2000), Some(2000), None));
    }
}
