//! What tells a secret from an example of one.

/// What stands in the place of a secret in documentation, in lower case.
const PLACEHOLDERS: &[&[u8]] = &[
    b"example",
    b"xxxx",
    b"placeholder",
    b"changeme",
    b"change_me",
    b"change-me",
    b"redacted",
    b"your_",
    b"your-",
    b"yourtoken",
    b"insert",
    b"0123456789",
    b"1234567890",
    b"abcdefgh",
    b"aaaaaa",
    b"000000",
    b"dummy",
    b"<",
    b"${",
    b"$(",
    b"{{",
    b"%(",
    b"...",
    b"****",
    b"notreal",
    b"sample",
];
/// Bits a character that a token has at least.
const TOKEN_ENTROPY_MIN: f32 = 2.6;
/// Bits a character that a value has at least which only its name makes a secret.
const VALUE_ENTROPY_MIN: f32 = 3.0;
/// Characters of such a value.
const VALUE_BYTES: std::ops::RangeInclusive<usize> = 8..=256;

/// Shannon's entropy in bits a byte.
pub(crate) fn entropy(bytes: &[u8]) -> f32 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let len = bytes.len() as f32;
    counts.iter().filter(|count| **count > 0).map(|count| *count as f32 / len).map(|share| -share * share.log2()).sum()
}

/// Whether it says that it is none: an example, a gap to be filled, a variable.
pub(crate) fn is_placeholder(bytes: &[u8]) -> bool {
    let lower = bytes.to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|word| memchr::memmem::find(&lower, word).is_some())
}

/// Whether a token's characters can have been drawn by chance.
pub(crate) fn is_random_enough(bytes: &[u8]) -> bool {
    entropy(bytes) >= TOKEN_ENTROPY_MIN && !is_placeholder(bytes)
}

/// Whether a value can be a password or a key, where its name says so.
pub(crate) fn is_secret_like(bytes: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| bytes.iter().any(is);
    VALUE_BYTES.contains(&bytes.len())
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && !has(|byte| {
            byte.is_ascii_whitespace() || matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b';' | b'\\' | b',')
        })
        && entropy(bytes) >= VALUE_ENTROPY_MIN
        && !is_placeholder(bytes)
        && !is_name(bytes)
}

/// Whether a value can be a password that somebody set, where its variable's name says so: words too, but no examples.
pub(crate) fn is_password(bytes: &[u8]) -> bool {
    let is_flag = [&b"true"[..], b"false", b"none", b"null", b"password", b"secret", b"disabled", b"enabled"];
    (6..=*VALUE_BYTES.end()).contains(&bytes.len())
        && !bytes.iter().any(u8::is_ascii_whitespace)
        && !is_flag.iter().any(|word| bytes.eq_ignore_ascii_case(word))
        && !is_placeholder(bytes)
        && !matches!(bytes.first(), Some(b'/' | b'$' | b'.' | b'%'))
        && memchr::memmem::find(bytes, b"://").is_none()
        && entropy(bytes) >= 2.0
}

/// Whether it is a path, an address or a name in a program rather than something drawn by chance.
fn is_name(bytes: &[u8]) -> bool {
    let starts = [&b"/"[..], b"./", b"~/", b"http://", b"https://", b"$", b"@", b"--"];
    let is_identifier =
        bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-'))
            && bytes.iter().filter(|byte| byte.is_ascii_digit()).count() * 8 < bytes.len();
    starts.iter().any(|start| bytes.starts_with(start)) || is_identifier
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_shannons() {
        assert!(entropy(b"aaaa").abs() < 1e-6);
        assert!((entropy(b"abcd") - 2.0).abs() < 1e-6);
        assert!((entropy(b"abab") - 1.0).abs() < 1e-6);
    }

    #[test]
    fn examples_are_not_secrets() {
        for text in
            ["AKIAIOSFODNN7EXAMPLE", "xxxxxxxxxxxx1A", "${DB_PASSWORD}", "<your-token>", "1234567890abcdef", "changeme123"]
        {
            assert!(!is_secret_like(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn names_and_paths_are_not_secrets() {
        for text in [
            "/run/secrets/db1",
            "https://vault:8200/v1",
            "user_password_field2",
            "some-long-name.v1",
            "letters only",
            "lettersonly",
        ] {
            assert!(!is_secret_like(text.as_bytes()), "{text}");
        }
        for text in ["hunter2hunter9Q", "kX93jd82nQw1", "9f86d081884c7d65", "pa55-W0rd!xyz"] {
            assert!(is_secret_like(text.as_bytes()), "{text}");
        }
    }
}
