//! Codes: what a person reads aloud from one machine to another. How two machines find out that they have the same one lives
//! in `exchange`.

use std::fmt;
use std::str::FromStr;

use super::words::{WORDS, place_of};

/// How many words a code has: 32 bits.
const CODE_WORDS: usize = 4;
/// The numbers of invitations: two digits.
pub(crate) const NUMBERS: u8 = 100;
/// The longest text that is read as a code, in bytes.
const MAX_CODE: usize = 256;

/// A code, such as `42-amber-tiger-lemon-piano`: a number that says which invitation is meant, which everybody may know, and
/// words that only the two people who use it know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code {
    number: u8,
    words: [u8; CODE_WORDS],
}

/// A text that is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a code ({0}); a code is two digits and four words, such as 42-amber-tiger-lemon-piano, and comes from `skein invite`"
)]
pub struct ParseCodeError(String);

impl Code {
    /// A code of an invitation's number and random bytes.
    #[must_use]
    pub fn new(number: u8, words: [u8; CODE_WORDS]) -> Self {
        Code { number: number % NUMBERS, words }
    }

    /// Which invitation is meant: no secret.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The code in the one form that both machines use.
    pub(super) fn secret(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

/// The code as a person carries it: this is the secret itself.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.number)?;
        self.words.iter().try_for_each(|word| write!(f, "-{}", WORDS[usize::from(*word)]))
    }
}

/// The words never show in a log.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({:02})", self.number)
    }
}

impl FromStr for Code {
    type Err = ParseCodeError;

    /// Reads a code: between its parts may be hyphens, blanks or dots, and of a word four letters are enough.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: String| Err(ParseCodeError(why));
        if text.len() > MAX_CODE {
            return wrong("it is too long".into());
        }
        let mut parts = text.split(|c: char| c == '-' || c == '.' || c.is_whitespace()).filter(|part| !part.is_empty());
        let number = parts.next().unwrap_or_default();
        let digits = number.len() <= 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        let Some(number) = number.parse().ok().filter(|_| digits) else {
            return wrong("it does not begin with one or two digits".into());
        };
        let mut words = [0; CODE_WORDS];
        for place in &mut words {
            let Some(word) = parts.next() else { return wrong(format!("it has fewer than {CODE_WORDS} words")) };
            let Some(known) = place_of(word) else {
                // What was typed may be a slip of somebody who has the right code: it is not repeated.
                return wrong("one of its words is none that codes have".into());
            };
            *place = known;
        }
        if parts.next().is_some() {
            return wrong(format!("it has more than {CODE_WORDS} words"));
        }
        Ok(Code { number, words })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = Code::new(7, [0, 1, 254, 255]);
        let text = code.to_string();
        assert!(text.starts_with("07-acorn-"), "{text}");
        let spoken = text.to_uppercase().replace('-', "  ");
        let short: Vec<String> = text.split('-').map(|part| part.chars().take(4).collect()).collect();
        for written in [text.clone(), format!(" {text}\n"), spoken, short.join("-"), text.replacen("07", "7", 1)] {
            assert_eq!(written.parse(), Ok(code), "{written}");
        }
        assert_eq!(format!("{code:?}"), "Code(07)");
    }

    #[test]
    fn what_is_no_code_says_what_one_is_and_repeats_nothing() {
        for text in [
            "",
            "42",
            "skein1-abc",
            "42-acorn",
            "x-acorn-acorn-acorn-acorn",
            "100-acorn-acorn-acorn-acorn",
            "42-acorn-secret-acorn-acorn",
            "42-acorn-acorn-acorn-acorn-acorn",
        ] {
            let error = text.parse::<Code>().unwrap_err().to_string();
            assert!(error.contains("skein invite") && !error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,300}") {
            let _ = text.parse::<Code>();
        }

        #[test]
        fn every_code_is_read_back(number in 0u8..NUMBERS, words in any::<[u8; CODE_WORDS]>()) {
            let code = Code::new(number, words);
            prop_assert_eq!(code.to_string().parse(), Ok(code));
        }
    }
}
