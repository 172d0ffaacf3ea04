//! Values that are given to names: `NAME=value`, `name: value`, `"name": "value"`, `name => 'value'`.

use std::ops::Range;

/// Characters of a name after its keyword, at most.
const NAME_REST_MAX: usize = 40;
/// Characters between a name and its value, at most.
const GAP_MAX: usize = 12;
/// Characters of a value, at most: what is longer is no password.
const VALUE_MAX: usize = 512;

/// The value of the name whose keyword ends at `at`.
pub(crate) fn value(text: &[u8], at: usize) -> Option<Range<usize>> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let rest = text.get(at..)?.iter().take(NAME_REST_MAX + 1).take_while(|byte| is_name(byte)).count();
    if rest > NAME_REST_MAX {
        return None;
    }
    let gap = at + rest;
    let mut assigned = false;
    let mut quote = None;
    let mut begin = gap;
    for byte in text.get(gap..)?.iter().take(GAP_MAX) {
        match byte {
            b'=' | b':' => assigned = true,
            b'>' if assigned => {}
            b' ' | b'\t' | b'\\' => {}
            b'"' | b'\'' | b'`' => quote = if assigned { Some(*byte) } else { None },
            _ => break,
        }
        begin += 1;
        if quote.is_some() {
            break;
        }
    }
    if !assigned {
        return None;
    }
    let ends = |byte: &u8| match quote {
        Some(quote) => *byte == quote || matches!(byte, b'\n' | b'\r' | b'\\'),
        None => byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b'&' | 0),
    };
    let length = text.get(begin..)?.iter().take(VALUE_MAX + 1).take_while(|byte| !ends(byte)).count();
    (1..=VALUE_MAX).contains(&length).then_some(begin..begin + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<&str> {
        let at = text.to_ascii_lowercase().find("password").unwrap() + "password".len();
        value(text.as_bytes(), at).and_then(|range| text.get(range))
    }

    #[test]
    fn values_are_found_as_they_are_written() {
        assert_eq!(of("PASSWORD=abc"), Some("abc"));
        assert_eq!(of("DB_PASSWORD_MAIN = abc # why"), Some("abc"));
        assert_eq!(of("password: 'a b c'"), Some("a b c"));
        assert_eq!(of(r#"{"password": "abc", "x": 1}"#), Some("abc"));
        assert_eq!(of(r#""{\"password\": \"abc\"}""#), Some("abc"));
        assert_eq!(of("password => `abc`"), Some("abc"));
        assert_eq!(of("password:=\"abc\""), Some("abc"));
        assert_eq!(of("https://x/?password=abc&y=1"), Some("abc"));
    }

    #[test]
    fn what_is_no_assignment_has_no_value() {
        for text in ["password", "password abc", "the password is: ", "password\n=abc", "password(abc)", "password="] {
            assert_eq!(of(text).filter(|value| !value.is_empty()), None, "{text}");
        }
    }

    #[test]
    fn a_value_past_the_limit_is_none() {
        assert!(of(&format!("password={}", "x".repeat(VALUE_MAX))).is_some());
        assert!(of(&format!("password={}", "x".repeat(VALUE_MAX + 1))).is_none());
        let name = |rest| format!("password{}=abc", "x".repeat(rest));
        assert!(of(&name(NAME_REST_MAX)).is_some());
        assert!(of(&name(NAME_REST_MAX + 1)).is_none());
        let gap = |blanks| format!("password={}abc", " ".repeat(blanks));
        assert_eq!(of(&gap(GAP_MAX - 1)), Some("abc"));
        assert_eq!(of(&gap(GAP_MAX)), None);
    }
}
