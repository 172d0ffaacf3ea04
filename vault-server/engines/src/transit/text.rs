//! What a key makes, as text: `coffer:vN:BASE64`, with the number of the version.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crypto::xaes::OVERHEAD;

use super::UseError;

const START: &str = "coffer:v";
/// Digits in a version's number.
const DIGITS_MAX: usize = 10;

pub(super) fn write(version: u32, bytes: &[u8]) -> String {
    let mut text = format!("{START}{version}:");
    STANDARD.encode_string(bytes, &mut text);
    text
}

/// The version and the bytes. One text has one meaning: no zeros in front, no other alphabet, no spaces.
pub(super) fn read(text: &str) -> Result<(u32, Vec<u8>), UseError> {
    let (version, bytes) = text.strip_prefix(START).and_then(|rest| rest.split_once(':')).ok_or(UseError::Form)?;
    let digits = (1..=DIGITS_MAX).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || version.starts_with('0') {
        return Err(UseError::Form);
    }
    let version = version.parse().map_err(|_| UseError::Form)?;
    Ok((version, STANDARD.decode(bytes).map_err(|_| UseError::Form)?))
}

/// Bytes that a text counts for where input is limited: never more than what was encrypted had, so that whatever was
/// encrypted can be decrypted.
#[must_use]
pub const fn weight(text: &str) -> usize {
    // "coffer:v", the digits and ":" are text as well; base64 ends with up to two signs that say nothing.
    const BESIDE: usize = OVERHEAD + START.len() + DIGITS_MAX + 1 + 4;
    (text.len() / 4 * 3).saturating_sub(BESIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_was_written_and_no_other_is_read() {
        for (version, bytes) in [(1, &b""[..]), (7, b"a"), (u32::MAX, b"\xff\x00\xff")] {
            assert_eq!(read(&write(version, bytes)).unwrap(), (version, bytes.to_vec()));
        }
        assert_eq!(write(3, b"ab"), "coffer:v3:YWI=");
        for text in [
            "",
            "coffer",
            "coffer:v3",
            "coffer:v:YWI=",
            "coffer:v03:YWI=",
            "coffer:v0:YWI=",
            "coffer:v+3:YWI=",
            "vault:v3:YWI=",
            "coffer:v3:YWI",
            "coffer:v3:YWJ=",
            "coffer:v3:YWI= ",
            " coffer:v3:YWI=",
            "coffer:v3:YW\nI=",
            "coffer:v4294967296:YWI=",
            "coffer:v99999999999:YWI=",
            "coffer:v3:-_==",
        ] {
            assert_eq!(read(text).err(), Some(UseError::Form), "{text}");
        }
    }

    #[test]
    fn a_ciphertext_never_counts_more_than_its_plaintext() {
        for length in (0..200).chain([1 << 20]) {
            for version in [1, 1_000, u32::MAX] {
                let counted = weight(&write(version, &vec![0; length + OVERHEAD]));
                assert!(counted <= length && counted + 80 >= length, "{length}: {counted}");
            }
        }
    }
}
