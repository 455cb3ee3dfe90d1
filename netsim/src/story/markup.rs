//! Texts for HTML and SVG.

/// A text that cannot end the element or the attribute that it is in.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A time or a duration, as a person reads it.
pub(super) fn seconds(us: u64) -> String {
    if us < 1_000_000 { format!("{} ms", us / 1000) } else { format!("{:.2} s", us as f64 / 1e6) }
}

/// A percentage for an attribute.
pub(super) fn percent(at: f64) -> String {
    format!("{at:.3}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_says_cannot_become_markup() {
        assert_eq!(escaped("</script> & \"x\"\n'"), "&lt;/script&gt; &amp; &quot;x&quot; &#39;");
    }

    #[test]
    fn short_times_are_milliseconds() {
        assert_eq!((seconds(12_345).as_str(), seconds(12_345_678).as_str()), ("12 ms", "12.35 s"));
    }
}
